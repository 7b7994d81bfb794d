package remote

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/remote/outage"
	"hbmfs/remote/term"
	"hbmfs/transport"
)

// sessions says which session is the current one, or why there is none.
type sessions struct {
	clock    term.Clock
	outage   *outage.Outage
	lost     chan *session           // sessions to replace
	vouching atomic.Pointer[session] // cur, for who has no time for mu

	mu      sync.Mutex    // guards all below
	cur     *session      // nil while there is none
	cause   error         // why there is none
	lostAt  time.Duration // since when, by clock
	changed chan struct{} // closed when any of these changes
	closed  bool
	past    []transport.LinkStats // of links that are closed, by the number of their transport
}

func newSessions(clock term.Clock, o *outage.Outage) *sessions {
	return &sessions{clock: clock, outage: o, lost: make(chan *session, 1), changed: make(chan struct{})}
}

// wake tells those who wait for a session, or for the end. s.mu is held.
func (s *sessions) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// current returns the session, or nil while there is none. The error is
// [transport.ErrClosed].
func (s *sessions) current() (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, transport.ErrClosed
	}
	return s.cur, nil
}

// await returns the session, once there is one.
func (s *sessions) await(ctx context.Context) (*session, error) {
	for {
		s.mu.Lock()
		cur, closed, changed, cause := s.cur, s.closed, s.changed, s.cause
		s.mu.Unlock()
		if closed {
			return nil, transport.ErrClosed
		}
		if cur != nil {
			return cur, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), cause)
		}
	}
}

// fail asks for another session in the place of failed. The first reason counts.
func (s *sessions) fail(failed *session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.cur != failed {
		return
	}
	s.cur = nil
	s.vouching.Store(nil)
	s.cause, s.lostAt = err, s.clock()
	s.outage.Begin(time.Now())
	s.wake()
	s.lost <- failed // has room: one session is current at a time
}

// install makes next the current session. The error is [transport.ErrClosed].
func (s *sessions) install(next *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return transport.ErrClosed
	}
	s.cur, s.cause = next, nil
	s.vouching.Store(next)
	s.wake()
	return nil
}

// close returns the last session; there will be no other.
func (s *sessions) close() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.cur
	s.closed, s.cause, s.cur = true, transport.ErrClosed, nil
	s.vouching.Store(nil)
	s.wake()
	return last
}

// retire closes the session's links: all their requests have completed, or wait again.
func (s *sessions) retire(old *session) {
	old.links.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = old.links.AddTo(s.past)
	for i := range s.past {
		p := &s.past[i]
		p.Connections, p.InFlight, p.Registrations.Bytes, p.Devmem.Tokens = 0, 0, 0, 0
	}
}

// retireLost is for a session that was lost when nobody was left to replace it.
func (s *sessions) retireLost() {
	select {
	case old := <-s.lost:
		s.retire(old)
	default:
	}
}

// why is why there is no session; nil while there is one.
func (s *sessions) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// stillNone notes why the latest attempt to make a session failed.
func (s *sessions) stillNone(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = cause
}

// linkStats are of all links, by the number of their transport; Connections and
// InFlight are of the current session's.
func (s *sessions) linkStats() []transport.LinkStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur == nil {
		return slices.Clone(s.past)
	}
	return s.cur.links.AddTo(s.past)
}

// silence returns for how long the target has not answered what it was asked, or
// has been away.
func (s *sessions) silence() time.Duration {
	s.mu.Lock()
	cur, lost := s.cur, s.lostAt
	s.mu.Unlock()
	if cur == nil {
		return s.clock() - lost
	}
	if at, ok := cur.term.SilentSince(); ok {
		return s.clock() - at
	}
	return 0
}
