package logging

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"hbmfs/transport/printable"
)

const (
	// every is how often an event is logged that peers can cause.
	every = time.Minute
	// maxKinds bounds how many kinds of event, each with who caused it, are told
	// apart; beyond that they share a line for each message.
	maxKinds = 64
)

// others is who caused an event where too many do.
const others = "others"

// Limiter logs events that peers can cause as often as they like: the first of a
// kind at once, and a minute later the latest with how many were left out.
type Limiter struct {
	log *slog.Logger

	mu     sync.Mutex
	kinds  map[kind]*held
	closed bool
}

// kind is a message, and who caused it.
type kind struct{ msg, who string }

// held is what was not logged of a kind since it last was.
type held struct {
	n     int // how many
	level slog.Level
	args  []any // of the latest
	timer *time.Timer
}

// NewLimiter returns a limiter of what goes to log. It must be closed.
func NewLimiter(log *slog.Logger) *Limiter {
	return &Limiter{log: log, kinds: make(map[kind]*held)}
}

// Log logs an event, or counts it. Events of the same msg and who, which may be
// empty, are of one kind; args are as for [slog.Logger.Log].
func (l *Limiter) Log(level slog.Level, msg, who string, args ...any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := kind{msg, who}
	if l.kinds[k] == nil && len(l.kinds) >= maxKinds {
		k.who = others
	}
	h := l.kinds[k]
	if h == nil && !l.closed {
		l.kinds[k] = &held{timer: time.AfterFunc(every, func() { l.tell(k) })}
	}
	if h == nil {
		l.log.Log(context.Background(), level, msg, args...)
		return
	}
	h.n++
	h.level, h.args = level, bound(args)
}

// bound makes of args what may be kept for a while: nothing long, and nothing
// that holds on to more.
func bound(args []any) []any {
	bounded := make([]any, len(args))
	for i, a := range args {
		bounded[i] = printable.Cut(fmt.Sprint(a), printable.MaxText)
	}
	return bounded
}

// Warn is Log at that level.
func (l *Limiter) Warn(msg, who string, args ...any) { l.Log(slog.LevelWarn, msg, who, args...) }

// tell ends the minute of a kind: with a line, which begins another, if any was
// held back.
func (l *Limiter) tell(k kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.kinds[k]
	if h == nil {
		return
	}
	if h.n == 0 {
		delete(l.kinds, k)
		return
	}
	l.flush(k.msg, h)
	h.timer.Reset(every)
}

func (l *Limiter) flush(msg string, h *held) {
	if h.n > 1 {
		h.args = append(h.args, "left_out", h.n-1)
	}
	if h.n > 0 {
		l.log.Log(context.Background(), h.level, msg, h.args...)
	}
	h.n, h.args = 0, nil
}

// Host is who has an address, whatever the port.
func Host(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// Close logs what is held back. Later events are logged at once.
func (l *Limiter) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, h := range l.kinds {
		h.timer.Stop()
		l.flush(k.msg, h)
	}
	clear(l.kinds)
	l.closed = true
}
