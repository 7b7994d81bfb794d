package tcp

import (
	"fmt"
	"net"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
)

// depth is the credits of one connection: how many requests may be under way on
// it.
const depth = 32

// conn is the client's side of one connection.
type conn struct {
	lanes.Conn
	link  *link
	nc    net.Conn
	raw   net.Conn     // nc without TLS: closing it sends nothing, so never waits
	in    inbox        // the reader's own
	large atomic.Int32 // requests waiting for payload that is read directly

	// Guarded by Mu:
	slots   [depth]slot
	pending []byte // encoded requests to write
	spare   []byte // the other buffer for pending
	writing bool   // someone writes, and will write what is pending
}

// slot is a request under way. While the peer owes its answer it is guarded by
// Mu, then it belongs to whoever lands the payload.
type slot struct {
	conn   *conn
	req    *transport.Request
	gen    uint64 // 48 bits; unique to a use of the slot
	pad    landing.Pad
	result transport.Result // the reader's, then the memory's
	index  int
}

func newConn(l *link, nc net.Conn) *conn {
	c := &conn{
		link:    l,
		nc:      nc,
		raw:     raw(nc),
		in:      inbox{buf: make([]byte, inboxSize)},
		pending: make([]byte, 0, depth*frame.RequestSize),
		spare:   make([]byte, 0, depth*frame.RequestSize),
	}
	c.Init(&l.Link, c, depth)
	for i := range c.slots {
		s := &c.slots[i]
		s.conn, s.index = c, i
		s.pad.Init(s.landed)
	}
	tune(c.raw)
	return c
}

func (s *slot) id() uint64 { return s.gen<<16 | uint64(s.index) }

// Add implements [lanes.Carrier].
func (c *conn) Add(r *transport.Request) lanes.Addition {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	i, a := c.Next()
	if a != lanes.Added {
		return a
	}
	c.Issue(r)
	s := &c.slots[i]
	s.req = r
	s.gen = (s.gen + 1) & (1<<48 - 1)
	s.result = transport.Result{Path: transport.PathStaged, Why: c.link.Session.Why, HostCopies: 1}
	c.countLarge(r, 1)
	c.pending = frame.Request{
		ID: s.id(), File: r.File, Off: r.Off, Length: uint32(r.Dst.Len), Checksum: c.link.Session.Checksums,
	}.Append(c.pending)
	return lanes.Added
}

func (c *conn) countLarge(r *transport.Request, n int32) {
	if r.Dst.Len >= directMin {
		c.large.Add(n)
	}
}

// Flush writes what is pending, unless someone is at it already: then that one
// does, so that requests which come together leave together. The write does not
// wait: what all the credits encode to fits the socket's buffer.
func (c *conn) Flush() {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	if c.writing {
		return
	}
	c.writing = true
	for len(c.pending) > 0 && c.Broken() == nil {
		out := c.pending
		c.pending = c.spare[:0]
		c.Mu.Unlock()
		_, err := c.nc.Write(out)
		c.Mu.Lock()
		c.spare = out
		if err != nil {
			c.breakLocked(fmt.Errorf("%w: %w", transport.ErrConnLost, err))
		}
	}
	c.writing = false
}

// Kill implements [lanes.Carrier].
func (c *conn) Kill(err error) {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	c.breakLocked(err)
}

func (c *conn) breakLocked(err error) {
	if c.Break(err) {
		c.raw.Close()
	}
}

// take returns the slot that a reply is for. It stays waiting: if the
// connection is lost while its payload comes in, it fails with the others.
func (c *conn) take(h frame.Reply) (*slot, error) {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	i := int(h.ID & 0xffff)
	if i >= depth || !c.Waiting(i) || c.slots[i].id() != h.ID {
		return nil, fmt.Errorf("%w: reply to a request %#x that is not under way", transport.ErrProtocol, h.ID)
	}
	return &c.slots[i], nil
}

// settle ends the wait for the peer, who has answered.
func (c *conn) settle(s *slot) {
	c.Answered(s.index)
	c.countLarge(s.req, -1)
}

// landed is called once the device sees the payload, or won't.
func (s *slot) landed(err error) {
	if err != nil {
		err = s.conn.link.Failure(s.req, err)
	}
	s.finish(err)
}

// finish ends the slot's request, which must be settled.
func (s *slot) finish(err error) {
	r, res := s.req, s.result
	if err != nil {
		res = transport.Result{Err: err, Why: res.Why}
	}
	s.req = nil
	s.conn.Finish(s.index, r, res)
}

// Retire implements [lanes.Carrier].
func (c *conn) Retire(err error) {
	c.Mu.Lock()
	c.breakLocked(err)
	err = c.Broken()
	c.Mu.Unlock()
	for i := range c.Unanswered() {
		s := &c.slots[i]
		c.settle(s)
		s.pad.Abort()
		s.finish(c.link.Failure(s.req, err))
	}
}
