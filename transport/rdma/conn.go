package rdma

import (
	"cmp"
	"fmt"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
)

// overhead is what a request weighs beside its bytes when connections are
// compared.
const overhead = 16 << 10

// What a queue pair of a client holds: the sends of all requests and of the
// set-up's message, and their receives. One receive more than
// there are requests is always posted: it flushes when the queue pair fails,
// which wakes whoever waits.
const (
	sendDepth = depth + 1
	recvDepth = depth + 2
)

// batch is how many completions are taken at a time.
const batch = 32

// conn is the client's side of one connection. What a set-up that failed did
// not reach is nil.
type conn struct {
	link    *link
	events  *verbs.Events
	id      *verbs.ID
	device  *opened
	control control
	cq      *verbs.CQ
	qp      *verbs.QP
	mtu     int // agreed, in bytes

	watcher     sync.WaitGroup // of events
	failing     sync.Once
	wc          [batch]verbs.Completion // the lane's own
	outstanding atomic.Int64            // completions to come
	load        atomic.Int64            // bytes asked for, with overhead
	progress    atomic.Uint64           // bytes that came, with their records
	stall       stall                   // the watchdog's own

	mu      sync.Mutex // guards all below
	slots   [depth]slot
	free    []uint16          // of slots
	pending []verbs.Work      // to post
	sends   int               // requests in pending: each takes a receive
	spare   []verbs.Work      // the other buffer for pending
	recvs   [depth]verbs.Recv // all alike
	posting bool              // someone posts, and will post what is pending
	idle    *sync.Cond        // no one posts any more
	answers uint64            // that came whole
	broken  error             // why nothing more is taken
}

// issued is when a request was issued, by three clocks of its connection.
type issued struct {
	tick     uint32
	progress uint64
	answers  uint64
}

func newConn(l *link) *conn {
	c := &conn{
		link:    l,
		free:    make([]uint16, 0, depth),
		pending: make([]verbs.Work, 0, sendDepth),
		spare:   make([]verbs.Work, 0, sendDepth),
	}
	c.idle = sync.NewCond(&c.mu)
	for i := range c.slots {
		c.slots[i].init(c, i)
		c.free = append(c.free, uint16(depth-1-i))
		c.recvs[i].ID = workID(workReceive, 0)
	}
	return c
}

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
	if !s.aim(r) {
		return noCredit
	}
	c.free = c.free[:len(c.free)-1]
	s.issued = issued{c.link.ticks.Load(), c.progress.Load(), c.answers}
	c.account(r, 1)
	c.pending = s.request(c.pending)
	c.sends++
	c.link.open.Add(1)
	c.link.taken.Add(1)
	return added
}

func (c *conn) account(r *transport.Request, sign int64) {
	c.load.Add(sign * (r.Dst.Len + overhead))
}

// flush posts what is pending, unless someone is at it already: then that one
// does, so that requests which come together leave together.
func (c *conn) flush() {
	c.mu.Lock()
	if c.posting {
		c.mu.Unlock()
		return
	}
	c.posting = true
	for len(c.pending) > 0 && c.broken == nil {
		work, sends := c.pending, c.sends
		c.pending, c.sends = c.spare[:0], 0
		c.mu.Unlock()
		err := c.post(work, c.recvs[:sends])
		c.mu.Lock()
		c.spare = work
		if err != nil && c.broken == nil {
			c.broken = fmt.Errorf("%w: %w", transport.ErrConnLost, err)
		}
	}
	c.posting = false
	broken := c.broken
	c.idle.Broadcast()
	c.mu.Unlock()
	if broken != nil {
		c.fail()
	}
}

// post posts the receives first: the peer may answer before Post returns.
func (c *conn) post(work []verbs.Work, recvs []verbs.Recv) error {
	c.outstanding.Add(int64(len(work) + len(recvs)))
	if len(recvs) > 0 {
		if err := c.qp.PostRecv(recvs); err != nil {
			return err
		}
	}
	return c.qp.Post(work)
}

// kill ends the connection because of err; its lane then ends its requests.
func (c *conn) kill(err error) {
	c.mu.Lock()
	if c.broken == nil {
		c.broken = err
	}
	c.mu.Unlock()
	c.fail()
}

// fail puts the queue pair into the error state, in which all its work flushes,
// and returns once it is.
func (c *conn) fail() {
	c.failing.Do(func() {
		if c.qp != nil && c.qp.Fail() != nil {
			c.cq.Interrupt()
		}
	})
}

// peerGone is what an event of the connection manager means that ends the
// connection; nil for others.
func peerGone(ev verbs.Event) error {
	switch ev.Kind {
	case verbs.DeviceRemoval:
		return errRemoved
	case verbs.Disconnected, verbs.ConnectError, verbs.Unreachable, verbs.Rejected:
		return fmt.Errorf("%w: %v", transport.ErrConnLost, ev.Kind)
	}
	return nil
}

// watch kills the connection when its peer or its device goes, until the events
// are interrupted.
func (c *conn) watch() {
	for {
		ev, err := c.events.Next()
		if err != nil {
			return
		}
		if gone := peerGone(ev); gone != nil {
			if ev.Kind == verbs.DeviceRemoval {
				c.device.removed.Store(true)
			}
			c.kill(gone)
		}
	}
}

// retire destroys the queue pair, ends the requests that wait for the peer, and
// closes all that the connection has. err is why, unless it was killed before.
func (c *conn) retire(err error) {
	c.kill(err)
	c.mu.Lock()
	for c.posting {
		c.idle.Wait()
	}
	err = c.broken
	c.mu.Unlock()
	if c.qp != nil {
		c.drain()
	}
	c.closeQueues()
	c.abandon(err)
	c.closeRest()
}

// closeQueues closes what the device may write by. An error of it means that the
// device is gone, and what was to be closed with it.
func (c *conn) closeQueues() {
	if c.qp != nil {
		_ = c.qp.Close()
	}
	if c.cq != nil {
		_ = c.cq.Close()
	}
}

func (c *conn) closeRest() {
	if c.events != nil {
		c.events.Interrupt()
		c.watcher.Wait()
	}
	if c.id != nil {
		_ = c.id.Disconnect() // fails if the peer did first
		_ = c.id.Close()
	}
	if c.events != nil {
		_ = c.events.Close()
	}
	_ = c.control.close()
	if c.device != nil {
		c.link.device.release(c.device)
	}
}

// abandon ends all requests that wait for the peer. Nothing can write their
// destinations any more.
func (c *conn) abandon(err error) {
	for i := range c.slots {
		s := &c.slots[i]
		c.mu.Lock()
		waiting := s.state == slotWaiting
		c.mu.Unlock()
		if waiting {
			c.settle(s)
			s.finish(c.link.failure(s.req, cmp.Or(s.fault, err)))
		}
	}
}

// settle ends the wait for the peer.
func (c *conn) settle(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.state = slotLanding
	c.answers++
	c.account(s.req, -1)
}
