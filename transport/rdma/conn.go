package rdma

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/rdma/internal/verbs"
)

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
	lanes.Conn
	link    *link
	events  *verbs.Events
	id      *verbs.ID
	port    port // that messages of id leave through, once there may be any
	device  *opened
	control control
	cq      *verbs.CQ
	qp      *verbs.QP
	mtu     int // agreed, in bytes

	watcher     sync.WaitGroup // of events
	watched     bool           // there is one
	released    func()         // ends the wait for the device's removal; may be nil
	failing     sync.Once
	flushed     func()                  // ends the wait for a device that never flushes; may be nil
	wc          [batch]verbs.Completion // the lane's own
	outstanding atomic.Int64            // completions to come

	// Guarded by Mu:
	slots   [depth]slot
	pending []verbs.Work      // to post
	sends   int               // requests in pending: each takes a receive
	spare   []verbs.Work      // the other buffer for pending
	recvs   [depth]verbs.Recv // all alike
	posting bool              // someone posts, and will post what is pending
	idle    *sync.Cond        // no one posts any more
}

func newConn(l *link) *conn {
	c := &conn{
		link:    l,
		pending: make([]verbs.Work, 0, sendDepth),
		spare:   make([]verbs.Work, 0, sendDepth),
	}
	c.Init(&l.Link, c, depth)
	c.idle = sync.NewCond(&c.Mu)
	for i := range c.slots {
		c.slots[i].init(c, i)
		c.recvs[i].ID = workID(workReceive, 0)
	}
	return c
}

// Add implements [lanes.Carrier]. Room for the payload is a credit too.
func (c *conn) Add(r *transport.Request) lanes.Addition {
	seen := r.Dst.Mem.Bytes() != nil
	c.Mu.Lock()
	defer c.Mu.Unlock()
	i, a := c.Next()
	if a != lanes.Added {
		return a
	}
	s := &c.slots[i]
	if !s.aim(r, seen) {
		return lanes.NoCredit
	}
	c.Issue(r)
	c.pending = s.request(c.pending)
	c.sends++
	return lanes.Added
}

// Flush posts what is pending, unless someone is at it already: then that one
// does, so that requests which come together leave together.
func (c *conn) Flush() {
	c.Mu.Lock()
	if c.posting {
		c.Mu.Unlock()
		return
	}
	c.posting = true
	for len(c.pending) > 0 && c.Broken() == nil {
		work, sends := c.pending, c.sends
		c.pending, c.sends = c.spare[:0], 0
		c.Mu.Unlock()
		err := c.post(work, c.recvs[:sends])
		c.Mu.Lock()
		c.spare = work
		if err != nil {
			c.Break(fmt.Errorf("%w: %w", transport.ErrConnLost, err))
		}
	}
	c.posting = false
	broken := c.Broken()
	c.idle.Broadcast()
	c.Mu.Unlock()
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

// Kill implements [lanes.Carrier].
func (c *conn) Kill(err error) {
	c.Mu.Lock()
	c.Break(err)
	c.Mu.Unlock()
	c.fail()
}

// fail puts the queue pair into the error state, in which all its work flushes,
// and returns once it is.
func (c *conn) fail() {
	c.failing.Do(func() {
		if c.qp == nil {
			return
		}
		if c.qp.Fail() != nil {
			c.cq.Interrupt()
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
		undo := onEnd(ctx, c.cq.Interrupt)
		c.flushed = func() {
			undo()
			cancel()
		}
	})
}

var errPeerLeft = fmt.Errorf("%w: %v", transport.ErrConnLost, verbs.Disconnected)

// gone is what an event of the connection manager means that ends the
// connection; nil for others.
func (c *conn) gone(ev verbs.Event) error {
	switch ev.Kind {
	case verbs.DeviceRemoval:
		if c.device != nil {
			c.device.remove()
		}
		return errRemoved
	case verbs.Disconnected:
		return errPeerLeft
	case verbs.ConnectError, verbs.Unreachable, verbs.Rejected:
		return fmt.Errorf("%w: %v", transport.ErrConnLost, ev.Kind)
	}
	return nil
}

// heed has the connection hear of its peer's and its device's end.
func (c *conn) heed() {
	c.watched = true
	c.watcher.Go(c.watch)
}

// watch kills the connection when its peer or its device goes, until the events
// are interrupted.
func (c *conn) watch() {
	for {
		ev, err := c.events.Next()
		switch {
		case errors.Is(err, verbs.ErrInterrupted):
			return
		case err != nil:
			c.Kill(lanes.Lost(err)) // nobody would hear of the peer's end
			return
		}
		if err := c.gone(ev); err != nil {
			c.Kill(err)
		}
	}
}

// Retire implements [lanes.Carrier]: it destroys the queue pair before it ends
// the requests that wait for the peer. The peer hears of it last.
func (c *conn) Retire(err error) {
	c.Kill(err)
	if c.released != nil {
		c.released()
	}
	c.Mu.Lock()
	for c.posting {
		c.idle.Wait()
	}
	err = c.Broken()
	c.Mu.Unlock()
	if c.qp != nil {
		c.drain()
	}
	if c.closeQueues() == nil {
		c.abandon(err)
	}
	c.closeMemory()
	for range c.Unanswered() { // the queue pair is not destroyed: see lifetime
		<-c.device.closed
	}
	c.abandon(err)
	c.part(err)
}

// closeQueues closes what the device may write by. An error means that the queue
// pair may still be there, on a device that is being removed.
func (c *conn) closeQueues() (err error) {
	if c.flushed != nil {
		c.flushed()
	}
	if c.qp != nil {
		err = c.qp.Close()
	}
	if err != nil {
		c.device.remove()
	}
	if c.cq != nil {
		_ = c.cq.Close()
	}
	return err
}

// closeMemory gives back what else the connection has of its device.
func (c *conn) closeMemory() {
	_ = c.control.close()
	if c.device != nil {
		c.link.device.release(c.device)
	}
}

// part has the peer told that the connection ends because of err.
func (c *conn) part(err error) {
	f := farewell{port: c.port, settle: caution(err), say: c.leave}
	if c.port != (port{}) {
		f.removed = c.device.removed.Done()
		if !c.watched {
			c.events.Resume()
			c.heed()
		}
	}
	parting.add(f)
}

// leave tells the peer, if it was ever asked for a connection.
func (c *conn) leave() {
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
}

// abandon ends all requests that wait for the peer. Nothing can write their
// destinations any more.
func (c *conn) abandon(err error) {
	for i := range c.Unanswered() {
		s := &c.slots[i]
		c.Answered(i)
		s.finish(c.link.Failure(s.req, cmp.Or(s.fault, err)))
	}
}
