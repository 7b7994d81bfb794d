package remote_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/transporttest"
)

// lateTransport has links whose Submit takes its time, as on a thread that lost
// its CPU, and that tell when they are closed.
type lateTransport struct {
	transport.Transport
	entered, leave, closed chan struct{}
}

type lateLink struct {
	transport.Link
	t *lateTransport
}

func (l *lateTransport) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	link, err := l.Transport.Dial(ctx, s)
	return lateLink{link, l}, err
}

func (l lateLink) Submit(reqs []*transport.Request) (int, error) {
	l.t.entered <- struct{}{}
	<-l.t.leave
	return l.Link.Submit(reqs)
}

func (l lateLink) Close() error {
	defer close(l.t.closed)
	return l.Link.Close()
}

// TestCloseDuringSubmit closes the target while a link looks at a request that it
// then does not take. It must not be forgotten.
func TestCloseDuringSubmit(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	late := &lateTransport{inproc.New(n.target), make(chan struct{}), make(chan struct{}), make(chan struct{})}
	cfg := n.config()
	cfg.Select = use(late)
	r := connect(t, cfg)
	f := open(t, r, 1)
	var result atomic.Pointer[transport.Result]
	go f.Submit([]*transport.Request{{
		Dst:  transport.Span{Mem: make(transport.HostMemory, 16), Len: 16},
		Done: func(res transport.Result) { result.Store(&res) },
	}})
	<-late.entered
	ended := make(chan error, 1)
	go func() { ended <- r.Close() }()
	<-late.closed
	select {
	case <-ended:
		t.Fatal("Close returned while a link had the request")
	case <-time.After(100 * time.Millisecond):
	}
	close(late.leave)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if res := result.Load(); res == nil {
		t.Error("Close returned before Done")
	} else if !errors.Is(res.Err, transport.ErrClosed) {
		t.Errorf("the request ended with %v", res.Err)
	}
}

// TestOverdueBehindFullLink has more requests than the link's credits, none of
// which comes back.
func TestOverdueBehindFullLink(t *testing.T) {
	const requests, credits, size = 6, 2, 4096
	_, r, fake := mountFake(t, credits, 200*time.Millisecond)
	f := open(t, r, 1)
	fake.hold()
	mem := make(transport.HostMemory, requests*size)
	results := make(chan error, requests)
	var reqs []*transport.Request
	for i := range int64(requests) {
		reqs = append(reqs, &transport.Request{
			Off:  i * size,
			Dst:  transport.Span{Mem: mem, Off: i * size, Len: size},
			Done: func(res transport.Result) { results <- res.Err },
		})
	}
	f.Submit(reqs)
	for range requests - credits {
		if err := <-results; !errors.Is(err, transport.ErrConnLost) {
			t.Errorf("a request that no link took: %v", err)
		}
	}
	fake.release()
	for range credits {
		if err := <-results; err != nil {
			t.Errorf("a request that the link took: %v", err)
		}
	}
	if err := transporttest.Check(mem[:credits*size], tag(1, 1), 0); err != nil {
		t.Error(err)
	}
}
