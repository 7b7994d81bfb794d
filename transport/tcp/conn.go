package tcp

import (
	"fmt"
	"net"
	"sync/atomic"

	"hbmfs/fs/uapi"
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

	slots [depth]slot
	out   [2]frame.Requests // halves
}

// slot is a request under way. It is the reader's, and once the peer has answered
// whoever's who lands the payload.
type slot struct {
	conn   *conn
	req    landing.Request
	gen    uint64 // 48 bits; unique to a use of the slot
	pad    landing.Pad
	result transport.Result // the reader's, then the memory's
	index  int
}

func newConn(l *link, nc net.Conn) *conn {
	c := &conn{
		link: l,
		nc:   nc,
		raw:  raw(nc),
		in:   inbox{buf: make([]byte, inboxSize)},
	}
	for i := range c.out {
		c.out[i] = frame.NewRequests(depth)
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

// Place implements [lanes.Carrier].
func (c *conn) Place(slot, half int, r landing.Request) bool {
	s := &c.slots[slot]
	s.req = r
	s.gen = (s.gen + 1) & (1<<48 - 1)
	s.result = transport.Result{Path: uapi.PathStaged, HostCopies: 1}
	c.countLarge(r, 1)
	c.out[half].Add(s.id(), r, c.link.Session.Checksums)
	return true
}

func (c *conn) countLarge(r landing.Request, n int32) {
	if r.Dst.Len >= directMin {
		c.large.Add(n)
	}
}

// Send implements [lanes.Carrier]. It does not wait: what all the credits encode
// to fits the socket's buffer.
func (c *conn) Send(half int) error {
	_, err := c.nc.Write(c.out[half].Bytes)
	c.out[half].Reset()
	return err
}

// Shutdown implements [lanes.Carrier].
func (c *conn) Shutdown() { c.raw.Close() }

// find returns the slot that a reply is for. It stays waiting: if the
// connection is lost while its payload comes in, it fails with the others.
func (c *conn) find(h frame.Reply) (*slot, error) {
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
		err = s.conn.link.Failure(s.req.Request, err)
	}
	s.finish(err)
}

// finish ends the slot's request, which must be settled.
func (s *slot) finish(err error) {
	r, res := s.req.Request, s.result
	if err != nil {
		res = transport.Result{Err: err, Why: res.Why}
	}
	s.req = landing.Request{}
	s.conn.Finish(s.index, r, res)
}

// Retire implements [lanes.Carrier].
func (c *conn) Retire(err error) {
	for i := range c.Unanswered() {
		s := &c.slots[i]
		c.settle(s)
		s.pad.Abort()
		s.finish(c.link.Failure(s.req.Request, err))
	}
}
