package lanes

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	fakeDepth = 4
	fakeMax   = 1 << 20
)

// fakeConn is a connection to no one: it keeps what it is given until the test
// has it answered.
type fakeConn struct {
	Conn
	reqs    [fakeDepth]*transport.Request
	placed  [2]int
	chained int // requests that were placed so
	flushes atomic.Int32
	killed  chan struct{}
	retired atomic.Int32
}

func newFake(l *Link) *fakeConn {
	c := &fakeConn{killed: make(chan struct{})}
	c.Init(l, c, fakeDepth)
	return c
}

func (c *fakeConn) Place(slot, half int, r landing.Request) bool {
	c.reqs[slot] = r.Request
	c.placed[half]++
	if r.Chained {
		c.chained++
	}
	return true
}

func (c *fakeConn) Send(half int) error {
	c.flushes.Add(1)
	c.placed[half] = 0
	return nil
}

func (c *fakeConn) Receive() error {
	<-c.killed
	return transport.ErrConnLost
}

func (c *fakeConn) Shutdown() { close(c.killed) }

func (c *fakeConn) Retire(err error) {
	c.retired.Add(1)
	for i := range c.Unanswered() {
		c.answer(i, err)
	}
}

func (c *fakeConn) answer(slot int, err error) {
	c.Answered(slot)
	c.Finish(slot, c.reqs[slot], transport.Result{Err: err})
}

// asked is how many requests wait for the peer.
func (c *fakeConn) asked() (n int) {
	for range c.Unanswered() {
		n++
	}
	return n
}

// fakeLink is a link of fake connections. Before each is dialled, refuse says
// why it can't be.
type fakeLink struct {
	Link
	refuse func(ctx context.Context, nth int32) error
	dials  atomic.Int32
	ended  atomic.Int32

	mu   sync.Mutex
	made []*fakeConn
}

// newLink returns a link of n connections that is closed when the test ends.
func newLink(t testing.TB, n int) *fakeLink {
	l := &fakeLink{refuse: func(context.Context, int32) error { return nil }}
	l.Init(Config{
		Name: "fake", Plan: transport.Plan{MaxLen: fakeMax}, Session: transport.Session{Addr: "nowhere:1", Connections: n, Timeout: time.Hour},
		Dial: func(ctx context.Context) (*Conn, error) {
			if err := l.refuse(ctx, l.dials.Add(1)); err != nil {
				return nil, err
			}
			return &l.make().Conn, nil
		},
		Ended: func() { l.ended.Add(1) },
	})
	l.mems.Attach(fakeMem, l.cfg.Plan)
	t.Cleanup(func() { l.Close() })
	return l
}

// fakeMem is attached to each fakeLink, and never written to.
var fakeMem = transporttest.NewMapped(fakeMax + 1)

func (l *fakeLink) make() *fakeConn {
	c := newFake(&l.Link)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made = append(l.made, c)
	return c
}

// connected returns a link of n connections that are up.
func connected(t testing.TB, n int) *fakeLink {
	t.Helper()
	l := newLink(t, n)
	if err := l.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// conn is the connection in a lane, nil if there is none.
func (l *fakeLink) conn(lane int) *fakeConn {
	if c := l.lanes[lane].conn.Load(); c != nil {
		return c.carrier.(*fakeConn)
	}
	return nil
}

// requests are for that many bytes each, and tell ended how they end.
func requests(ended chan<- error, sizes ...int64) []*transport.Request {
	reqs := make([]*transport.Request, len(sizes))
	for i, n := range sizes {
		reqs[i] = &transport.Request{
			Dst: transport.Span{Mem: fakeMem, Len: n},
			To:  transporttest.Done(func(res transport.Result) { ended <- res.Err }),
		}
	}
	return reqs
}
