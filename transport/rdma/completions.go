package rdma

import (
	"context"
	"fmt"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// drainLimit is how long the work of a failed queue pair may take to flush. What
// has not is ended by the queue pair's destruction.
const drainLimit = 500 * time.Millisecond

// work is what a completion is of. Its id has the slot too.
type work uint64

const (
	workReceive work = iota
	workSend
	workHello
)

var workNames = [...]string{"record", "request", "first message"}

func workID(w work, slot int) uint64 { return uint64(w)<<8 | uint64(slot) }

// Receive implements [lanes.Carrier]: it takes completions.
func (c *conn) Receive() error {
	for {
		n, err := c.poll()
		c.Hold()
		for i := 0; i < n && err == nil; i++ {
			err = c.completed(&c.wc[i])
		}
		c.Deliver()
		if err != nil {
			return lanes.Lost(err)
		}
	}
}

// poll waits until there are completions, and takes up to a batch of them.
func (c *conn) poll() (int, error) {
	for {
		n, err := c.cq.Poll(c.wc[:])
		if n > 0 || err != nil {
			c.outstanding.Add(int64(-n))
			return n, err
		}
		if err := c.cq.Wait(); err != nil {
			return 0, err
		}
	}
}

// completed returns why the connection must end.
func (c *conn) completed(w *verbs.Completion) error {
	kind, slot := work(w.ID>>8), int(w.ID&0xff)
	if w.Status != verbs.StatusOK {
		return fmt.Errorf("%w: %s: %v", transport.ErrConnLost, workNames[kind], w.Status)
	}
	switch kind {
	case workSend:
		c.paid(&c.slots[slot], owesSend)
	case workReceive:
		return c.recorded(w)
	}
	return nil
}

// batchMax is the largest payload, in bytes, whose completion waits for others.
const batchMax = 32 << 10

// paid lands the slot's payload if what completed was the last that it owed.
func (c *conn) paid(s *slot, what uint32) {
	if s.owes.And(^what) != what {
		return
	}
	large := s.req.Dst.Len > batchMax
	s.land()
	if large {
		c.Deliver()
		c.Hold()
	}
}

// recorded takes the record that the peer announced.
func (c *conn) recorded(w *verbs.Completion) error {
	if w.Op != verbs.OpRecvWithImm {
		return fmt.Errorf("%w: a message of %d bytes without a record", transport.ErrProtocol, w.Bytes)
	}
	s, err := c.take(wire.Tag(w.Imm))
	if err != nil {
		return err
	}
	c.paid(s, owesRecord)
	return nil
}

// take checks the record of t against its slot.
func (c *conn) take(t wire.Tag) (*slot, error) {
	if t.Slot() >= wire.Depth {
		return nil, fmt.Errorf("%w: record of slot %d", transport.ErrProtocol, t.Slot())
	}
	s := &c.slots[t.Slot()]
	if !c.Waiting(t.Slot()) || s.owes.Load()&owesRecord == 0 || s.tag() != t {
		return nil, fmt.Errorf("%w: record of request %#x, which is not under way", transport.ErrProtocol, t)
	}
	rec, err := wire.ParseRecord(c.control.mailbox(t.Slot()))
	if err != nil {
		return nil, err
	}
	if err := s.accept(rec); err != nil {
		return nil, err
	}
	c.Progressed(int(rec.Length) + wire.RecordSize)
	return s, nil
}

// drain returns once all work of the failed queue pair has flushed, or the limit
// is over. What completes with success meanwhile is not counted as one: its
// request fails with the connection.
func (c *conn) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	stop := hca.OnEnd(ctx, c.cq.Interrupt)
	defer stop()
	for c.outstanding.Load() > 0 {
		if _, err := c.poll(); err != nil {
			return
		}
	}
}
