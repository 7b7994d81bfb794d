package lanes

import (
	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// Carrier is what a transport does on one of its connections. What is to be sent
// is in two halves: while one is sent, requests are placed in the other. Send,
// Receive and Shutdown may run at the same time, each once at most; Retire when
// they have ended.
type Carrier interface {
	// Place gives r the slot, and encodes it behind what else is in the half: what
	// it is chained to, if it is, was placed there just before. It
	// is called with the connection's lock, so it calls nothing of Conn and no
	// method of r's memory, and waits for nothing. It reports false while there is
	// no room for the payload.
	Place(slot, half int, r landing.Request) bool
	// Send sends what is in the half and empties it. It must not wait for the
	// peer. An error ends the connection.
	Send(half int) error
	// Receive takes what the peer sends until the connection ends, and returns
	// why it did. The error wraps [transport.ErrConnLost]. It is called once, on
	// the lane's goroutine.
	Receive() error
	// Shutdown has Send and Receive return. It is called once.
	Shutdown()
	// Retire ends all requests that wait for the peer, because of err, and closes
	// what the connection has. It is called once, after Shutdown.
	Retire(err error)
}

// Addition is how many requests a connection took, or why it took none.
type Addition int

const (
	Refused  Addition = iota - 1 // the connection is ending
	NoCredit                     // yet
	Added                        // one
)

// Add takes r if it can, and then as many as it can of those behind it, one after
// the other, to be sent by the next flush.
func (c *Conn) Add(r landing.Request, behind ...*transport.Request) (n Addition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return Refused
	}
	for c.place(r) {
		if n++; int(n) > len(behind) {
			break
		}
		r = landing.Request{Request: behind[n-1], Chained: chained(behind[n-1])}
	}
	return n
}

// place takes r if there is a credit for it. mu is held.
func (c *Conn) place(r landing.Request) bool {
	last, kind := len(c.free)-1, kindOf(r)
	if c.room(kind) <= 0 || !c.carrier.Place(int(c.free[last]), c.half, r) {
		return false
	}
	c.issue(c.free[last], r.Dst.Len+overhead, kind)
	c.free = c.free[:last]
	c.placed = true
	return true
}

// flush sends what was added, unless someone is at it already: then that one
// does, so that requests which come together leave together.
func (c *Conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sending {
		return
	}
	c.sending = true
	for c.placed && c.broken == nil {
		half := c.half
		c.half, c.placed = 1-half, false
		c.mu.Unlock()
		if err := c.carrier.Send(half); err != nil {
			c.Kill(Lost(err))
		}
		c.mu.Lock()
	}
	c.sending = false
	c.quiet.Broadcast()
}

// Kill ends the connection because of err, unless it is ending. It returns once
// it is shut down.
func (c *Conn) Kill(err error) {
	c.fail(err)
	c.shut.Do(c.carrier.Shutdown)
}

// fail has nothing more be taken, because of err unless there is a reason.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
	}
}

// Broken is why nothing more is taken, nil while it is.
func (c *Conn) Broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// End kills and retires the connection, which receives nothing any more.
func (c *Conn) End(err error) {
	c.Kill(err)
	c.mu.Lock()
	for c.sending {
		c.quiet.Wait()
	}
	err = c.broken
	c.mu.Unlock()
	c.carrier.Retire(err)
}
