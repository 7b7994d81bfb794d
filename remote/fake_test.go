package remote_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/transporttest"
)

// fakeTransport is inproc with few credits, whose links can be told to keep
// requests for a while, and count attachments.
type fakeTransport struct {
	transport.Transport
	credits int
	pause   atomic.Int64 // before each completion

	mu       sync.Mutex
	holding  bool
	kept     []*transport.Request
	attached int
	links    []*fakeLink
}

func (f *fakeTransport) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	f.mu.Lock()
	now := f.Transport
	f.mu.Unlock()
	l, err := now.Dial(ctx, s)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	link := &fakeLink{Link: l, f: f}
	f.links = append(f.links, link)
	return link, nil
}

// restart has the node come back, and links lead to what it is then.
func (f *fakeTransport) restart(n *node) {
	n.kill()
	f.mu.Lock()
	defer f.mu.Unlock()
	n.start()
	f.Transport = inproc.New(n.target)
}

// hold keeps what comes from now on.
func (f *fakeTransport) hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holding = true
}

// release sends what was kept on its way, the last first.
func (f *fakeTransport) release() {
	f.mu.Lock()
	kept, link := f.kept, f.links[len(f.links)-1]
	f.holding, f.kept = false, nil
	f.mu.Unlock()
	for i := len(kept) - 1; i >= 0; i-- {
		link.Link.Submit(kept[i : i+1])
	}
}

type fakeLink struct {
	transport.Link
	f       *fakeTransport
	flights int // guarded by f.mu
}

func (l *fakeLink) Attach(ctx context.Context, mem transport.Memory) (transport.Attachment, error) {
	att, err := l.Link.Attach(ctx, mem)
	if err != nil {
		return nil, err
	}
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	l.f.attached++
	return att, nil
}

func (l *fakeLink) Submit(reqs []*transport.Request) (int, error) {
	f := l.f
	f.mu.Lock()
	n := min(len(reqs), f.credits-l.flights)
	l.flights += n
	if f.holding {
		f.kept = append(f.kept, reqs[:n]...)
		f.mu.Unlock()
		return n, nil
	}
	f.mu.Unlock()
	for _, r := range reqs[:n] {
		forward := *r
		forward.To = transporttest.Done(func(res transport.Result) {
			time.Sleep(time.Duration(f.pause.Load()))
			f.mu.Lock()
			l.flights--
			f.mu.Unlock()
			transporttest.End(r, res)
		})
		if took, err := l.Link.Submit([]*transport.Request{&forward}); took == 0 {
			panic(err) // inproc has more credits than the fake
		}
	}
	return n, nil
}

// mountFake connects by a fake transport within the process.
func mountFake(t *testing.T, credits int, timeout time.Duration) (*node, *remote.Target, *fakeTransport) {
	t.Helper()
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	fake := &fakeTransport{Transport: inproc.New(n.target), credits: credits}
	cfg := n.config()
	cfg.Candidates = use(fake)
	cfg.Timeout = timeout
	return n, connect(t, cfg), fake
}

func TestFewCredits(t *testing.T) {
	const requests = 500
	_, r, _ := mountFake(t, 3, patience)
	f := open(t, r, 1)
	mem := newRegion(requests * 512)
	if err := r.Attach(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	results := make(chan error, 2*requests)
	var reqs []*transport.Request
	for i := range int64(requests) {
		reqs = append(reqs, &transport.Request{
			Off: i * 512,
			Dst: transport.Span{Mem: mem, Off: i * 512, Len: 512},
			To:  transporttest.Done(func(res transport.Result) { results <- res.Err }),
		})
	}
	f.Submit(reqs[:requests/2])
	f.Submit(reqs[requests/2:])
	for range requests {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if err := transporttest.Check(mem.Mapped, tag(1, 1), 0); err != nil {
		t.Error(err)
	}
}

// TestMemoriesFollowTheLink loses the session twice, with one memory detached in
// between.
func TestMemoriesFollowTheLink(t *testing.T) {
	n, r, fake := mountFake(t, 100, patience)
	f := open(t, r, 1)
	a, b := newRegion(4096), newRegion(4096)
	for _, mem := range []*region{a, b} {
		if err := r.Attach(t.Context(), mem); err != nil {
			t.Fatal(err)
		}
	}
	for round, want := range []int{5, 6} { // one by Connect
		fake.restart(n)
		if err := fetch(f, a, 0, 0, 4096); err != nil {
			t.Fatal(err)
		}
		if fake.attached != want {
			t.Errorf("round %d: attached %d times, not %d", round, fake.attached, want)
		}
		if err := r.Detach(b); err != nil {
			t.Error(err)
		}
	}
	if err := fetch(f, b, 0, 0, 8); err == nil {
		t.Error("a request into detached memory succeeded")
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		unsupported(t, "the race detector empties pools")
	}
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	cfg := n.config()
	cfg.Candidates = use(inproc.New(n.target))
	f := open(t, connect(t, cfg), 1)
	ctx := t.Context()
	allocs := testing.AllocsPerRun(1000, func() {
		b, err := f.Read(ctx, 0, 4096)
		if err != nil {
			t.Error(err)
			return
		}
		b.Release()
	})
	if allocs >= 1 { // the pools lose some to the collector
		t.Errorf("%v allocations a read", allocs)
	}
}

// inClear dials without the session's TLS.
type inClear struct{ transport.Transport }

func (c inClear) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	s.TLS = nil
	return c.Transport.Dial(ctx, s)
}
