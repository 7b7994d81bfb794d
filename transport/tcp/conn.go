package tcp

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// depth is the credits of one connection: how many requests may be under way on
// it.
const depth = 32

// overhead is what a request weighs beside its bytes when connections are
// compared.
const overhead = 16 << 10

// conn is the client's side of one connection.
type conn struct {
	link     *link
	nc       net.Conn
	raw      net.Conn      // nc without TLS: closing it sends nothing, so never waits
	in       inbox         // the reader's own
	load     atomic.Int64  // bytes asked for, with overhead
	progress atomic.Uint64 // bytes that came
	stall    stall         // the watchdog's own
	large    atomic.Int32  // requests waiting for payload that is read directly

	mu      sync.Mutex // guards all below
	slots   [depth]slot
	free    []uint16 // of slots
	pending []byte   // encoded requests to write
	spare   []byte   // the other buffer for pending
	writing bool     // someone writes, and will write what is pending
	answers uint64   // that came whole
	broken  error    // why nothing more is taken
}

// issued is when a request was issued, by three clocks of its connection.
type issued struct {
	tick     uint32
	progress uint64
	answers  uint64
}

type slotState uint8

const (
	slotFree slotState = iota
	// slotWaiting: the peer has yet to answer, or to send the whole payload.
	slotWaiting
	// slotLanding: the payload is here, and on its way to the device.
	slotLanding
)

// slot is a request under way. All but the pad's calls of landed is guarded by
// conn.mu.
type slot struct {
	conn   *conn
	req    *transport.Request
	gen    uint64 // 48 bits; unique to a use of the slot
	state  slotState
	issued issued
	pad    landing.Pad
	result transport.Result // the reader's, then the memory's
	index  uint16
}

func newConn(l *link, nc net.Conn) *conn {
	c := &conn{
		link:    l,
		nc:      nc,
		raw:     raw(nc),
		in:      inbox{buf: make([]byte, inboxSize)},
		free:    make([]uint16, 0, depth),
		pending: make([]byte, 0, depth*requestSize),
		spare:   make([]byte, 0, depth*requestSize),
	}
	for i := range c.slots {
		s := &c.slots[i]
		s.conn, s.index = c, uint16(i)
		s.pad.Init(s.landed)
		c.free = append(c.free, uint16(depth-1-i))
	}
	tune(c.raw)
	return c
}

func (s *slot) id() uint64 { return s.gen<<16 | uint64(s.index) }

type addition int

const (
	added addition = iota
	noCredit
	refused // the connection is ending
)

// add takes r if there is a credit, and encodes it; flush sends it.
func (c *conn) add(r *transport.Request) addition {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return refused
	}
	if len(c.free) == 0 {
		return noCredit
	}
	s := &c.slots[c.free[len(c.free)-1]]
	c.free = c.free[:len(c.free)-1]
	s.req, s.state = r, slotWaiting
	s.issued = issued{c.link.ticks.Load(), c.progress.Load(), c.answers}
	s.gen = (s.gen + 1) & (1<<48 - 1)
	s.result = transport.Result{Path: transport.PathStaged, Why: c.link.session.Why, HostCopies: 1}
	c.account(r, 1)
	c.pending = appendRequest(c.pending, request{
		id: s.id(), file: r.File, off: r.Off, length: uint32(r.Dst.Len), checksum: c.link.session.Checksums,
	})
	c.link.open.Add(1)
	c.link.taken.Add(1)
	return added
}

func (c *conn) account(r *transport.Request, sign int64) {
	c.load.Add(sign * (r.Dst.Len + overhead))
	if r.Dst.Len >= directMin {
		c.large.Add(int32(sign))
	}
}

// flush writes what is pending, unless someone is at it already: then that one
// does, so that requests which come together leave together.
func (c *conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		return
	}
	c.writing = true
	for len(c.pending) > 0 && c.broken == nil {
		out := c.pending
		c.pending = c.spare[:0]
		c.mu.Unlock()
		_, err := c.nc.Write(out)
		c.mu.Lock()
		c.spare = out
		if err != nil {
			c.breakLocked(fmt.Errorf("%w: %w", transport.ErrConnLost, err))
		}
	}
	c.writing = false
}

// kill ends the connection because of err; its reader then ends its requests.
func (c *conn) kill(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breakLocked(err)
}

func (c *conn) breakLocked(err error) {
	if c.broken == nil {
		c.broken = err
		c.raw.Close()
	}
}

// take returns the slot that a reply is for. It stays waiting: if the
// connection is lost while its payload comes in, it fails with the others.
func (c *conn) take(h reply) (*slot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := uint16(h.id)
	if i >= depth || c.slots[i].state != slotWaiting || c.slots[i].id() != h.id {
		return nil, fmt.Errorf("%w: reply to a request %#x that is not under way", transport.ErrProtocol, h.id)
	}
	return &c.slots[i], nil
}

// settle ends the wait for the peer, who has answered.
func (c *conn) settle(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.state = slotLanding
	c.answers++
	c.account(s.req, -1)
}

// landed is called once the device sees the payload, or won't.
func (s *slot) landed(err error) {
	if err != nil {
		err = s.conn.link.failure(s.req, err)
	}
	s.finish(err)
}

// finish gives the slot's credit back and ends its request. The slot must be
// landing.
func (s *slot) finish(err error) {
	c, r, res := s.conn, s.req, s.result
	if err != nil {
		res = transport.Result{Err: err, Why: res.Why}
	}
	c.mu.Lock()
	s.req, s.state = nil, slotFree
	c.free = append(c.free, s.index)
	c.mu.Unlock()
	c.link.done(r, res)
}

// abandon ends all requests that wait for the peer, once nothing reads for them
// any more. err is why the reader stopped.
func (c *conn) abandon(err error) {
	c.mu.Lock()
	c.breakLocked(err)
	err = c.broken
	c.mu.Unlock()
	for i := range c.slots {
		s := &c.slots[i]
		c.mu.Lock()
		waiting := s.state == slotWaiting
		c.mu.Unlock()
		if waiting {
			c.settle(s)
			s.pad.Abort()
			s.finish(c.link.failure(s.req, err))
		}
	}
}
