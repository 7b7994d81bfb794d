package target

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/liveness"
	"hbmfs/transport/internal/serving"
	"hbmfs/transport/limits"
	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// postAfter is how much payload, in bytes, is on its way before more is read for
// requests that came together.
const postAfter = 256 << 10

// recvBit tells completions of receives from those of sends.
const recvBit = 1 << 32

// conn is one client's connection. Its goroutine answers what
// the source has in memory itself, and hands the rest to workers, so replies may
// overtake each other.
type conn struct {
	server *Server
	id     *verbs.ID
	peer   string
	ends   atomic.Int32 // of two: it was undone, and its client was told
	parts  parts
	out    sends
	pool   *serving.Pool[job]

	ctx  context.Context         // ends with the connection
	fail context.CancelCauseFunc // ends it, from any goroutine; the first error counts

	removed context.Context // ends when the identifier's device goes
	remove  context.CancelFunc

	// The connection's goroutine's own:
	setUp     *time.Timer     // ends the connection; nil once it is up
	alive     *time.Timer     // asks whether the client is; nil until it is up
	port      hca.Port        // that it was asked for through
	refusal   wire.RejectCode // what the client is told; 0 where it was accepted
	unwatched []func()        // end the waits for its end and that of its device
	source    transport.Source
	place     *limits.Share // of connections; nil until the client was let in
	arrived   []wire.Request
	called    chan struct{} // closed when the latest call is answered; nil before the first
	reposts   []verbs.Recv
}

func newConn(s *Server, id *verbs.ID) *conn {
	c := &conn{
		server: s, id: id, peer: id.Peer().String(),
		arrived: make([]wire.Request, 0, wire.Depth+1),
		reposts: make([]verbs.Recv, 0, wire.Depth+1),
	}
	c.ctx, c.fail = context.WithCancelCause(context.Background())
	c.removed, c.remove = context.WithCancel(context.Background())
	c.pool = serving.NewPool(c.ctx, c.work)
	return c
}

// run sets the connection up, serves it until it ends, and returns why it did.
func (c *conn) run(private []byte) error {
	c.setUp = time.AfterFunc(wire.SetUpTimeout, func() { c.fail(errSetUpTime) })
	defer c.setUp.Stop()
	c.port = hca.NewPort(c.id)
	err := c.open(private)
	if err == nil {
		err = c.serve()
	}
	c.fail(err)
	return c.end()
}

// ask has the queue pair fail if the client is gone.
func (c *conn) ask() {
	if c.ctx.Err() == nil {
		c.out.probe()
		c.out.flush()
		c.alive.Reset(liveness.Idle)
	}
}

// end undoes the connection, which has failed, and returns why it did. What is of
// the device goes at once, the rest when no read of the source is under way. The
// client may be told later.
func (c *conn) end() error {
	if c.alive != nil {
		c.alive.Stop()
	}
	for _, stop := range c.unwatched {
		stop()
	}
	c.out.close()
	err := errors.Join(context.Cause(c.ctx), c.parts.close())
	c.out.drop()
	c.disconnect()
	c.pool.Close()
	if c.place != nil {
		c.out.staging.share.Leave()
		c.place.Leave()
	}
	c.over()
	return err
}

// disconnect has the client told that the connection ends, or is refused.
func (c *conn) disconnect() {
	d := hca.Disconnect{Port: c.port, Settle: hca.SettleTime(context.Cause(c.ctx)), Removed: c.removed.Done(), Send: c.leave}
	if c.refusal != 0 {
		d.Settle = 0 // it has just asked
	}
	c.server.disconnecting.Add(1)
	hca.Disconnects.Add(d)
}

func (c *conn) leave() {
	defer c.server.disconnecting.Done()
	if c.refusal != 0 {
		_ = c.id.Reject(wire.AppendReject(nil, c.refusal))
	} else {
		_ = c.id.Disconnect() // fails if the client did first
	}
	_ = c.id.Close()
	c.over()
}

// over has the server forget the connection once both of its ends have come.
func (c *conn) over() {
	if c.ends.Add(1) == 2 {
		c.server.forget(c)
	}
}

// serve answers requests until the connection ends.
func (c *conn) serve() error {
	var wc [2 * wire.Depth]verbs.Completion
	for c.ctx.Err() == nil {
		n, err := c.parts.cq.Poll(wc[:])
		if err == nil && n == 0 {
			err = c.parts.cq.Wait()
		}
		if err == nil {
			err = c.take(wc[:n])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take handles completions. Receives are posted again before any record that
// lets the client use them goes out.
func (c *conn) take(wc []verbs.Completion) error {
	c.arrived, c.reposts = c.arrived[:0], c.reposts[:0]
	for i := range wc {
		if err := c.completed(&wc[i]); err != nil {
			return err
		}
	}
	if len(c.reposts) > 0 {
		if err := c.parts.qp.PostRecv(c.reposts); err != nil {
			return err
		}
	}
	queued := 0
	for _, r := range c.arrived {
		c.answer(r)
		if queued += int(r.Length); queued >= postAfter {
			c.out.flush()
			queued = 0
		}
	}
	c.out.flush()
	return nil
}

func (c *conn) completed(w *verbs.Completion) error {
	switch {
	case w.Status != verbs.StatusOK:
		return fmt.Errorf("%w: %v", transport.ErrConnLost, w.Status)
	case w.ID&recvBit == 0:
		c.out.completed(w.ID)
		return nil
	case w.HasImm:
		return fmt.Errorf("%w: a message with an immediate", transport.ErrProtocol)
	}
	cell := int(w.ID &^ recvBit)
	message := c.parts.received(cell, int(w.Bytes))
	if c.setUp != nil {
		return c.greet(message)
	}
	c.reposts = append(c.reposts, c.parts.recv(cell))
	return c.arrive(message)
}

// arrive takes the requests of a message, whose cell is the client's again after.
func (c *conn) arrive(message []byte) error {
	for {
		r, rest, err := wire.ParseRequest(message)
		if err != nil {
			return err
		}
		if !c.out.begin(r.Tag.Slot()) {
			return fmt.Errorf("%w: a request for slot %d, whose last one is under way", transport.ErrProtocol, r.Tag.Slot())
		}
		if r.Ask != nil { // with room for the answer
			r.Ask = append(make([]byte, 0, len(r.Ask)+transport.MaxCall), r.Ask...)
		}
		c.arrived = append(c.arrived, r)
		if message = rest; len(message) == 0 {
			return nil
		}
	}
}
