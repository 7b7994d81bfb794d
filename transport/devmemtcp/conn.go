package devmemtcp

import (
	"fmt"
	"net"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
)

// depth is the credits of one pair: how many requests may be under way on it.
const depth = 32

// scratchSize is the most that one recvmsg asks for, in bytes. It is touched
// only by payload that did not land in device memory.
const scratchSize = 1 << 20

// errSurplus: the stream of payloads is not where the headers say.
var errSurplus = fmt.Errorf("%w: payload that was not announced", transport.ErrProtocol)

// conn is the client's side of one pair.
type conn struct {
	lanes.Conn
	link  *link
	rx    *receiver
	head  net.Conn
	data  socket
	rule  nicRule
	ended chan struct{} // closed once the pair is of no more use

	// The reader's own:
	in      []byte // of the head
	r, w    int    // what is unread in in
	scratch *landing.Buffer
	control []byte

	gathers [gathersPerConn]gather
	idle    chan *gather // those of gathers that hold nothing

	// Guarded by Mu:
	slots   [depth]slot
	owed    int    // slots that wait for the peer
	pending []byte // encoded requests to write
	spare   []byte // the other buffer for pending
	writing bool   // someone writes, and will write what is pending
	probe   bool   // look for surplus payload before that
}

func newConn(l *link, rx *receiver, head net.Conn, data socket, rule nicRule) *conn {
	c := &conn{
		link:    l,
		rx:      rx,
		head:    head,
		data:    data,
		rule:    rule,
		ended:   make(chan struct{}),
		in:      make([]byte, 2*depth*frame.ReplySize),
		scratch: landing.GetBuffer(scratchSize),
		control: make([]byte, fragmentsPerGather*controlSize),
		idle:    make(chan *gather, gathersPerConn),
		pending: make([]byte, 0, depth*frame.RequestSize),
		spare:   make([]byte, 0, depth*frame.RequestSize),
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
	s.begin(r)
	if c.owed == 0 {
		c.probe = true
	}
	c.owed++
	c.pending = frame.Request{
		ID: s.id(), File: r.File, Off: r.Off, Length: uint32(r.Dst.Len), Checksum: c.link.Session.Checksums,
	}.Append(c.pending)
	return a
}

// Flush writes what is pending, unless someone is at it already: then that one
// does, so that requests which come together leave together.
func (c *conn) Flush() {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	if c.writing {
		return
	}
	c.writing = true
	for len(c.pending) > 0 && c.Broken() == nil {
		out, probe := c.pending, c.probe
		c.pending, c.probe = c.spare[:0], false
		c.Mu.Unlock()
		err := c.send(out, probe)
		c.Mu.Lock()
		c.spare = out
		if err != nil {
			c.breakLocked(lanes.Lost(err))
		}
	}
	c.writing = false
}

// send writes requests. If the peer owed nothing before them, no payload may lie
// there.
func (c *conn) send(out []byte, probe bool) error {
	if probe {
		switch n, err := c.data.Unread(); {
		case err != nil:
			return err
		case n > 0:
			return errSurplus
		}
	}
	_, err := c.head.Write(out)
	return err
}

// Kill implements [lanes.Carrier].
func (c *conn) Kill(err error) {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	c.breakLocked(err)
}

// breakLocked ends both streams. The data socket stays open as long as
// fragments that it holds are being gathered: its end would let the NIC write
// to them.
func (c *conn) breakLocked(err error) {
	if c.Break(err) {
		close(c.ended)
		c.head.Close()
		c.data.Shutdown()
	}
}

// answered ends the wait for the peer's answer to s.
func (c *conn) answered(s *slot) {
	c.Answered(s.index)
	c.Mu.Lock()
	c.owed--
	c.Mu.Unlock()
}

// Retire implements [lanes.Carrier]. Requests whose bytes are still being
// gathered end once they no longer are, and the sockets are closed after that.
func (c *conn) Retire(err error) {
	c.Kill(err)
	c.Mu.Lock()
	err = c.Broken()
	c.Mu.Unlock()
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
	c.scratch.Put()
	_ = c.data.Close() // what it brought is where it belongs
	if c.rule != nil {
		_ = c.rule.Close() // the NIC puts back what is left when it is closed
	}
	c.link.owner.quit(c)
}
