package limits

import (
	"errors"
	"fmt"
)

// ErrLimit: as much is in use as may be. An [Error] wraps it.
var ErrLimit = errors.New("limit reached")

// Error is a refusal.
type Error struct {
	What   string // is limited
	Client string
	Has    int64 // the client
	Used   int64 // all clients
	All    int64 // may have
	Remedy string
	limit  *Limit
	bound  int64
	why    verdict
}

// refusal makes the error. Limit.mu is held.
func (s *Share) refusal(why verdict) *Error {
	l := s.limit
	e := &Error{limit: l, What: l.What, Client: s.client.name, Has: s.client.used, Used: l.used, All: l.All, Remedy: l.Remedy, why: why}
	switch why {
	case share:
		e.Has, e.bound = s.used, s.most
	case each:
		e.bound = l.Each
	}
	return e
}

func (e *Error) Error() string {
	text := fmt.Sprintf("too many %s: ", e.What)
	switch e.why {
	case share, each:
		text += fmt.Sprintf("client %q has %d, and may have %d", e.Client, e.Has, e.bound)
	case fair:
		text += fmt.Sprintf("client %q has %d, and the %d of %d that are left are for others", e.Client, e.Has, e.All-e.Used, e.All)
	default:
		text += fmt.Sprintf("all clients have %d of %d, and client %q of those %d", e.Used, e.All, e.Client, e.Has)
	}
	return text + "; " + e.Remedy
}

// Unwrap makes it an [ErrLimit].
func (e *Error) Unwrap() error { return ErrLimit }

// Log has the log say so, if there is one.
func (e *Error) Log() {
	if l := e.limit; l.Log != nil {
		l.Log.Warn(l.msg, e.Client, "client", e.Client, "has", e.Has, "all", e.Used, "of", e.All, "err", e)
	}
}
