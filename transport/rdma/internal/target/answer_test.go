package target

import (
	"context"
	"errors"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/serving"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
	"hbmfs/transport/transporttest"
)

// postQueue is a send queue that tells what is posted.
type postQueue chan []verbs.Work

func (q postQueue) Post(w []verbs.Work) error {
	q <- append([]verbs.Work(nil), w...)
	return nil
}

// gate is a source whose calls wait for it to open.
type gate struct {
	*transporttest.Source
	open, reached chan struct{}
}

func (g gate) Call(ctx context.Context, ask, dst []byte) (int, error) {
	g.reached <- struct{}{}
	select {
	case <-g.open:
		return g.Source.Call(ctx, ask, dst)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// answering is a connection without a device, up to the end of the test.
func answering(t *testing.T, source transport.Source) (*conn, postQueue) {
	t.Helper()
	c := &conn{server: &Server{}, source: source}
	o, _ := testSends(sendDepth)
	q := make(postQueue, 64)
	o.qp = q
	c.out.init(o.ctx, o.fail, q, o.cells, sendDepth)
	c.out.staging = o.staging
	c.ctx, c.fail = o.ctx, o.fail
	c.pool = serving.NewPool(c.ctx, c.work)
	t.Cleanup(func() {
		c.fail(errors.New("the test has ended"))
		c.pool.Close()
	})
	return c, q
}

// asks has the client send a message.
func (c *conn) asks(t *testing.T, requests ...wire.Request) {
	t.Helper()
	var message []byte
	for _, r := range requests {
		message = wire.AppendRequest(message, r)
	}
	c.arrived = c.arrived[:0]
	if err := c.arrive(message); err != nil {
		t.Fatal(err)
	}
	clear(message) // the cell is the client's again
	for _, r := range c.arrived {
		c.answer(r)
	}
	c.out.flush()
}

// records returns the slots of the next n records, in their order. None may be of a
// failure.
func (c *conn) records(t *testing.T, q postQueue, n int) (slots []int) {
	t.Helper()
	for len(slots) < n {
		select {
		case posted := <-q:
			for _, w := range posted {
				if w.Op != verbs.WorkWriteImm {
					continue
				}
				rec, err := wire.ParseRecord(c.out.cells[w.ID*wire.SlotSize:])
				if err != nil || rec.Status != status.OK || uint32(rec.Tag) != w.Imm {
					t.Errorf("%+v, %v", rec, err)
				}
				slots = append(slots, rec.Tag.Slot())
			}
		case <-time.After(patience):
			t.Fatalf("records of %v, and no more", slots)
		}
	}
	return slots
}

// TestChained has a call that opens a file, two reads of it, and one of another file
// in a message: what is chained waits for the call, and what is not does not.
func TestChained(t *testing.T) {
	g := gate{transporttest.NewSource(), make(chan struct{}), make(chan struct{}, 1)}
	other := g.Add(1, 4096)
	ask, file := transporttest.Opens(2, 4096)
	c, q := answering(t, g)
	c.asks(t, wire.Request{Tag: wire.NewTag(0, 1), Ask: ask}, wire.Request{Tag: wire.NewTag(1, 1), Chained: true, File: file, Length: 100},
		wire.Request{Tag: wire.NewTag(2, 1), Chained: true, File: file, Off: 100}, wire.Request{Tag: wire.NewTag(3, 1), File: other, Length: 100})
	<-g.reached
	if got := c.records(t, q, 1); got[0] != 3 {
		t.Fatalf("records of %v before the call is answered", got)
	}
	select {
	case posted := <-q:
		t.Fatalf("posted before the call is answered: %+v", posted)
	case <-time.After(20 * time.Millisecond):
	}
	close(g.open)
	if got := c.records(t, q, 3); got[0] != 0 {
		t.Errorf("records of %v: the call's is not the first", got)
	}
	if c.calling() {
		t.Error("the call is still under way")
	}
	c.asks(t, wire.Request{Tag: wire.NewTag(3, 2), Chained: true, File: other, Length: 100})
	if got := c.records(t, q, 1); got[0] != 3 {
		t.Errorf("records of %v", got)
	}
}

// TestChainEnds ends the connection while a call is held, and what is chained waits.
func TestChainEnds(t *testing.T) {
	g := gate{transporttest.NewSource(), make(chan struct{}), make(chan struct{}, 1)}
	c, q := answering(t, g)
	c.asks(t, wire.Request{Ask: []byte{1}}, wire.Request{Tag: wire.NewTag(1, 1), Chained: true, Length: 100})
	<-g.reached
	c.fail(errors.New("gone"))
	c.pool.Close()
	c.pool = serving.NewPool(c.ctx, c.work)
	if len(q) != 0 || c.out.stagingInUse() != 0 {
		t.Errorf("%d posts, %d buffers in use", len(q), c.out.stagingInUse())
	}
}

// TestMessagesRefused has messages that no client sends.
func TestMessagesRefused(t *testing.T) {
	r := wire.AppendRequest(nil, wire.Request{Tag: 1, Length: 1})
	for what, b := range map[string][]byte{
		"empty":            nil,
		"cut off":          append(append([]byte(nil), r...), r[:wire.RequestSize-1]...),
		"one slot twice":   append(append([]byte(nil), r...), r...),
		"no such slot":     wire.AppendRequest(nil, wire.Request{Tag: wire.NewTag(wire.Depth, 0)}),
		"an ask cut short": wire.AppendRequest(nil, wire.Request{Ask: []byte("what?")})[:wire.RequestSize+4],
	} {
		c, _ := answering(t, transporttest.NewSource())
		if err := c.arrive(b); !errors.Is(err, transport.ErrProtocol) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
