package remote_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
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
	late                   atomic.Bool
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
	if l.t.late.Load() {
		l.t.entered <- struct{}{}
		<-l.t.leave
	}
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
	late := &lateTransport{
		Transport: inproc.New(n.target),
		entered:   make(chan struct{}), leave: make(chan struct{}), closed: make(chan struct{}),
	}
	cfg := n.config()
	cfg.Candidates = use(late)
	r := connect(t, cfg)
	f := open(t, r, 1)
	mem := newRegion(16)
	if err := r.Attach(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	late.late.Store(true)
	var result atomic.Pointer[transport.Result]
	go f.Submit([]*transport.Request{{
		Dst: transport.Span{Mem: mem, Len: 16},
		To:  transporttest.Done(func(res transport.Result) { result.Store(&res) }),
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
	mem := newRegion(requests * size)
	if err := r.Attach(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	results := make(chan error, requests)
	var reqs []*transport.Request
	for i := range int64(requests) {
		reqs = append(reqs, &transport.Request{
			Off: i * size,
			Dst: transport.Span{Mem: mem, Off: i * size, Len: size},
			To:  transporttest.Done(func(res transport.Result) { results <- res.Err }),
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
	if err := transporttest.Check(mem.Mapped[:credits*size], tag(1, 1), 0); err != nil {
		t.Error(err)
	}
}

// TestReadsAmongAsks has a link with one credit, which asks alone would keep busy.
func TestReadsAmongAsks(t *testing.T) {
	_, r, fake := mountFake(t, 1, time.Second)
	f, mem := open(t, r, 1), newRegion(16)
	fake.pause.Store(int64(time.Millisecond))
	if err := r.Attach(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	var over atomic.Bool
	for range 8 {
		asking.Go(func() {
			for !over.Load() {
				if _, err := r.Stat(t.Context(), "d", name(1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 10 {
		if err := fetch(f, mem, 0, 0, 16); err != nil {
			t.Error(err)
			break
		}
	}
	over.Store(true)
	asking.Wait()
}

// refusing has links that take nothing while there is a reason.
type refusing struct {
	transport.Transport
	why atomic.Pointer[error]
}

func (r *refusing) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	l, err := r.Transport.Dial(ctx, s)
	return refusingLink{l, r}, err
}

type refusingLink struct {
	transport.Link
	r *refusing
}

func (l refusingLink) Submit(reqs []*transport.Request) (int, error) {
	if why := l.r.why.Load(); why != nil {
		return 0, *why
	}
	return l.Link.Submit(reqs)
}

func (r *refusing) refuse(text string) {
	err := fmt.Errorf("%w: %s", transport.ErrConnLost, text)
	r.why.Store(&err)
}

// logged is what a log got.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestWhyLinkTakesNothing has a link that is up, and says why it takes nothing:
// requests that are given up say it, and the log once for each reason.
func TestWhyLinkTakesNothing(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	tr, log := &refusing{Transport: inproc.New(n.target)}, new(logged)
	cfg := n.config()
	cfg.Candidates, cfg.Timeout = use(tr), 10*nudge
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	r := connect(t, cfg)
	f := open(t, r, 1)
	mem := newRegion(16)
	if err := r.Attach(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	fetches := func() error {
		ended := make(chan error, 1)
		f.Submit([]*transport.Request{{
			Dst: transport.Span{Mem: mem, Len: 16},
			To:  transporttest.Done(func(res transport.Result) { ended <- res.Err }),
		}})
		return <-ended
	}
	for _, remedy := range []string{"bring its link up", "load its driver"} {
		tr.refuse(remedy)
		for range 2 {
			if err := fetches(); !errors.Is(err, transport.ErrConnLost) || !strings.Contains(err.Error(), remedy) {
				t.Errorf("given up with %v", err)
			}
		}
		if n := log.count(remedy); n != 1 {
			t.Errorf("%q is logged %d times", remedy, n)
		}
	}
	tr.why.Store(nil)
	if err := fetches(); err != nil {
		t.Errorf("after the remedy: %v", err)
	}
	tr.refuse("load its driver")
	if err := fetches(); err == nil || log.count("load its driver") != 2 {
		t.Errorf("%v; not logged when it came again", err)
	}
	_, err := r.Stat(t.Context(), "d", name(1))
	if !errors.Is(err, transport.ErrConnLost) || !strings.Contains(err.Error(), "load its driver") || !strings.Contains(err.Error(), cfg.Addr) {
		t.Errorf("stat: %v", err)
	}
}

// nudge is how often requests that wait are looked at.
const nudge = 20 * time.Millisecond
