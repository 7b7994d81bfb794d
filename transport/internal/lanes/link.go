// Package lanes is the client's side of a link, as far as it is the same for all
// transports that go by connections: a fixed number of them, of which each has a
// lane. It decides which request goes by which connection, has plain reads wait
// for a credit, replaces connections that are lost, gives up those whose peer
// stalls, and counts.
//
// A transport's link embeds [Link], its connection embeds [Conn] and is a
// [Carrier]. This package never does I/O and knows no frame. It issues no
// request again: one that was on a lost connection fails, and its caller
// decides.
//
// # Locking
//
// Conn.mu guards a connection's credits and what is to be sent, and is held while
// [Carrier.Place] is called; Link.mu guards the link's end and why dialling fails.
// Neither is held over I/O, or while a completer, a method of a Memory, or another of a
// Carrier is called, and neither is taken while the other is held. One goroutine
// a lane calls Receive; what a slot holds is its own from when the peer is asked
// until it has answered.
package lanes

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// MaxConnections is the most that a session may ask for.
const MaxConnections = 64

// defaultTimeout is for sessions that name none.
const defaultTimeout = 30 * time.Second

// Config is what a transport tells its link.
type Config struct {
	Name    string // of the transport, for errors
	Session transport.Session
	Plan    transport.Plan // for all memory, unless the transport's own Attach says otherwise
	// Dial opens one connection and proves the session on it. An error that
	// wraps [transport.ErrSession] ends the link; one that wraps neither that
	// nor [transport.ErrProtocol] becomes [transport.ErrConnLost].
	Dial func(context.Context) (*Conn, error)
	// Ended, if not nil, is called once when the link ends, before its
	// connections do, to end what the transport has beside them.
	Ended func()
}

// Link is the connections to one target: a [transport.Link].
type Link struct {
	Session transport.Session // not to be changed
	cfg     Config
	mems    landing.Set
	lanes   []lane
	ctx     context.Context // ends with the link; what its goroutines wait on
	cancel  context.CancelFunc
	workers sync.WaitGroup // lanes, the watchdog, and what Go started
	ticks   atomic.Uint32  // the watchdog's clock
	hungry  atomic.Int32   // plain reads that wait for a credit
	credit  chan struct{}  // capacity 1: tells one of them to look again
	counters

	mu      sync.Mutex // guards what follows
	end     error      // why the link is of no more use
	refused error      // why the latest attempt to replace a connection failed

	inFlight sync.WaitGroup // requests not done; added to under mu or Conn.mu, before the end
}

// Init readies the link, without a connection.
func (l *Link) Init(cfg Config) {
	if cfg.Session.Timeout <= 0 {
		cfg.Session.Timeout = defaultTimeout
	}
	l.cfg, l.Session = cfg, cfg.Session
	l.credit = make(chan struct{}, 1)
	l.ctx, l.cancel = context.WithCancel(context.Background())
}

// Attach implements [transport.Link]: it only keeps account of mem.
func (l *Link) Attach(_ context.Context, mem transport.Memory) (transport.Attachment, error) {
	if err := l.ended(); err != nil {
		return nil, err
	}
	return l.mems.Attach(mem, l.cfg.Plan)
}

// Failure says what failed, and on what.
func (l *Link) Failure(r *transport.Request, err error) error {
	if r.Call != nil {
		return fmt.Errorf("%s %s: call of %d bytes: %w", l.cfg.Name, l.Session.Addr, len(r.Call.Ask), err)
	}
	return fmt.Errorf("%s %s: %d bytes at %d of file %d: %w", l.cfg.Name, l.Session.Addr, r.Dst.Len, r.Off, r.File.Handle, err)
}

// Context ends with the link.
func (l *Link) Context() context.Context { return l.ctx }

// Tick is how often the watchdog has looked: a clock of an eighth of the
// session's time-out.
func (l *Link) Tick() uint32 { return l.ticks.Load() }

// Go runs f on a goroutine that Close waits for, unless the link has ended.
func (l *Link) Go(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		return false
	}
	l.workers.Go(f)
	return true
}

// Ended is nil while the link can be used, and then why it can't.
func (l *Link) Ended() error { return l.ended() }

// ended is nil while the link can be used.
func (l *Link) ended() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// Close implements [transport.Link]. All has ended when it returns.
func (l *Link) Close() error {
	l.stop(fmt.Errorf("%s %s: %w", l.cfg.Name, l.Session.Addr, transport.ErrClosed))
	l.workers.Wait()
	l.inFlight.Wait()
	return nil
}

// stop makes err the link's end, unless it has one, and ends its connections.
func (l *Link) stop(err error) {
	l.mu.Lock()
	first := l.end == nil
	if first {
		l.end = err
	}
	l.mu.Unlock()
	if !first {
		return
	}
	l.cancel()
	if l.cfg.Ended != nil {
		l.cfg.Ended()
	}
	for c := range l.up {
		c.Kill(err)
	}
}
