package rdma

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// What a queue pair of a client holds: the sends of all requests, each in a message
// of its own, and of the set-up's message, and their receives. One receive more than
// there are requests is always posted: it flushes when the queue pair fails,
// which wakes whoever waits.
const (
	sendDepth = wire.Depth + 1
	recvDepth = wire.Depth + 2
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
	port    hca.Port // that messages of id leave through, once there may be any
	device  *opened
	control control
	cq      *verbs.CQ
	qp      *verbs.QP
	mtu     int // agreed, in bytes

	watcher     sync.WaitGroup          // of events
	watched     bool                    // there is one
	released    func()                  // ends the wait for the device's removal; may be nil
	flushed     func()                  // ends the wait for a device that never flushes; may be nil
	wc          [batch]verbs.Completion // the lane's own
	outstanding atomic.Int64            // completions to come

	slots [wire.Depth]slot
	out   [2]half
	recvs [wire.Depth]verbs.Recv // all alike
}

func newConn(l *link) *conn {
	c := &conn{link: l}
	c.Init(&l.Link, c, wire.Depth)
	for i := range c.out {
		c.out[i].work = make([]verbs.Work, 0, wire.Depth)
	}
	for i := range c.slots {
		c.slots[i].init(c, i)
		c.recvs[i].ID = workID(workReceive, 0)
	}
	return c
}

// half is requests to post, in as few messages as hold them.
type half struct {
	work     []verbs.Work // a send for each message
	message  []byte       // of the last
	requests int          // each takes a receive
}

// Place implements [lanes.Carrier]. The slot of a message's first request lends the
// message its memory, and its place in the send queue: it waits for the send too.
func (c *conn) Place(slot, half int, r landing.Request) bool {
	s, h := &c.slots[slot], &c.out[half]
	if !s.aim(r) {
		return false
	}
	q := s.request()
	if len(h.work) == 0 || len(h.message)+wire.RequestSize+len(q.Ask) > wire.MessageSize {
		h.message = c.control.outgoing(slot)
		h.work = append(h.work, c.control.send(workID(workSend, slot), h.message))
		s.owes.Store(owesRecord | owesSend)
	}
	h.message = wire.AppendRequest(h.message, q)
	h.work[len(h.work)-1].Len = uint32(len(h.message))
	h.requests++
	return true
}

// Send implements [lanes.Carrier].
func (c *conn) Send(half int) error {
	h := &c.out[half]
	work, requests := h.work, h.requests
	h.work, h.requests = work[:0], 0
	return c.post(work, c.recvs[:requests])
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

// Shutdown implements [lanes.Carrier]: it puts the queue pair into the error
// state, in which all its work flushes.
func (c *conn) Shutdown() {
	if c.qp == nil {
		return
	}
	if c.qp.Fail() != nil {
		c.cq.Interrupt()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	undo := hca.OnEnd(ctx, c.cq.Interrupt)
	c.flushed = func() {
		undo()
		cancel()
	}
}

// gone is what an event of the connection manager means that ends the
// connection; nil for others.
func (c *conn) gone(ev verbs.Event) error {
	switch ev.Kind {
	case verbs.DeviceRemoval:
		if c.device != nil {
			c.device.Remove()
		}
		return hca.ErrRemoved
	case verbs.Disconnected:
		return hca.ErrPeerLeft
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
