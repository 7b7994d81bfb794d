package session

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

// Current says which session is the current one, or why there is none.
type Current struct {
	clock    term.Clock
	outage   *outage.Outage
	lost     chan *Session           // sessions to replace
	vouching atomic.Pointer[Session] // cur: see Vouching

	mu      sync.Mutex    // guards all below
	cur     *Session      // nil while there is none
	cause   error         // why there is none
	lostAt  time.Duration // since when, by clock
	changed chan struct{} // closed when any of these changes
	closed  bool
	past    []transport.LinkStats // of links that are closed, by the number of their transport
}

// NewCurrent returns one that has none yet.
func NewCurrent(clock term.Clock, o *outage.Outage) *Current {
	return &Current{clock: clock, outage: o, lost: make(chan *Session, 1), changed: make(chan struct{})}
}

// wake tells those who wait for a session, or for the end. c.mu is held.
func (c *Current) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Lost has sessions to replace.
func (c *Current) Lost() <-chan *Session { return c.lost }

// Vouching is the session, or nil while there is none, for who has no time for a lock.
func (c *Current) Vouching() *Session { return c.vouching.Load() }

// Get returns the session, or nil while there is none. The error is
// [transport.ErrClosed].
func (c *Current) Get() (*Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, transport.ErrClosed
	}
	return c.cur, nil
}

// Await returns the session, once there is one.
func (c *Current) Await(ctx context.Context) (*Session, error) {
	for {
		c.mu.Lock()
		cur, closed, changed, cause := c.cur, c.closed, c.changed, c.cause
		c.mu.Unlock()
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

// Fail asks for another session in the place of failed. The first reason counts.
func (c *Current) Fail(failed *Session, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.cur != failed {
		return
	}
	c.cur = nil
	c.vouching.Store(nil)
	c.cause, c.lostAt = err, c.clock()
	c.outage.Begin(time.Now())
	c.wake()
	c.lost <- failed // has room: one session is current at a time
}

// Install makes next the current session. The error is [transport.ErrClosed].
func (c *Current) Install(next *Session) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return transport.ErrClosed
	}
	c.cur, c.cause = next, nil
	c.vouching.Store(next)
	c.wake()
	return nil
}

// Close returns the last session; there will be no other.
func (c *Current) Close() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.cur
	c.closed, c.cause, c.cur = true, transport.ErrClosed, nil
	c.vouching.Store(nil)
	c.wake()
	return last
}

// Retire closes the session's links: all their requests have completed, or wait again.
func (c *Current) Retire(old *Session) {
	old.Links.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past = old.Links.AddTo(c.past)
	for i := range c.past {
		p := &c.past[i]
		p.Connections, p.InFlight, p.Registrations.Bytes, p.Devmem.Tokens = 0, 0, 0, 0
	}
}

// RetireLost is for a session that was lost when nobody was left to replace it.
func (c *Current) RetireLost() {
	select {
	case old := <-c.lost:
		c.Retire(old)
	default:
	}
}

// Why is why there is no session; nil while there is one.
func (c *Current) Why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// StillNone notes why the latest attempt to make a session failed.
func (c *Current) StillNone(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cause = cause
}

// LinkStats are of all links, by the number of their transport; Connections and
// InFlight are of the current session'c.
func (c *Current) LinkStats() []transport.LinkStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil {
		return slices.Clone(c.past)
	}
	return c.cur.Links.AddTo(c.past)
}

// Silence returns for how long the target has not answered what it was asked, or
// has been away.
func (c *Current) Silence() time.Duration {
	c.mu.Lock()
	cur, lost := c.cur, c.lostAt
	c.mu.Unlock()
	if cur == nil {
		return c.clock() - lost
	}
	if at, ok := cur.Term.SilentSince(); ok {
		return c.clock() - at
	}
	return 0
}
