package devmemtcp

import (
	"sync/atomic"

	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
)

// depth is the credits of one pair: how many requests may be under way on it.
const depth = 32

// conn is the client's side of one pair.
type conn struct {
	lanes.Conn
	pair  *receive.Pair
	link  *link
	rx    *receiver
	ended chan struct{} // closed once the pair is of no more use

	gathers [gathersPerConn]gather
	idle    chan *gather // those of gathers that hold nothing

	slots [depth]slot
	owed  atomic.Int32 // slots that wait for payload
	out   [2]half
}

// half is one of the two of what is to be sent.
type half struct {
	frame.Requests
	first bool // the peer owes no payload before them
}

func newConn(l *link, rx *receiver, p *receive.Pair) *conn {
	c := &conn{
		pair:  p,
		link:  l,
		rx:    rx,
		ended: make(chan struct{}),
		idle:  make(chan *gather, gathersPerConn),
	}
	for i := range c.out {
		c.out[i].Requests = frame.NewRequests(depth)
	}
	c.Init(&l.Link, c, depth)
	for i := range c.slots {
		c.slots[i].init(c, i)
	}
	for i := range c.gathers {
		c.gathers[i].init(c)
		c.idle <- &c.gathers[i]
	}
	return c
}

// Place implements [lanes.Carrier].
func (c *conn) Place(slot, half int, r landing.Request) bool {
	s, out := &c.slots[slot], &c.out[half]
	s.begin(r)
	if r.Call == nil {
		out.first = c.owed.Add(1) == 1 || out.first
	}
	out.Add(s.id(), r, c.link.Session.Checksums)
	return true
}

// Send implements [lanes.Carrier].
func (c *conn) Send(half int) error {
	out := &c.out[half]
	err := c.pair.Send(out.Bytes, out.first)
	out.Reset()
	out.first = false
	return err
}

// Shutdown implements [lanes.Carrier].
func (c *conn) Shutdown() {
	close(c.ended)
	c.pair.Shutdown()
}

// answered ends the wait for the peer's answer to s.
func (c *conn) answered(s *slot) {
	if s.req.Call == nil {
		c.owed.Add(-1)
	}
	c.Answered(s.index)
}

// Retire implements [lanes.Carrier]. Requests whose bytes are still being
// gathered end once they no longer are, and the sockets are closed after that.
func (c *conn) Retire(err error) {
	for i := range c.Unanswered() {
		s := &c.slots[i]
		c.answered(s)
		s.fail(err)
		s.release()
	}
	if !c.link.Go(c.close) {
		c.close()
	}
}

func (c *conn) close() {
	for range c.gathers {
		<-c.idle
	}
	c.pair.Retire()
	c.pair.Close()
	c.link.owner.quit(c)
}
