package remote_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/tcp"
	"hbmfs/transport/transporttest"
)

// picky is a fake: a direct transport that can reach device 0 only, which its links
// find out. Beneath, it is inproc.
type picky struct {
	node *node

	mu     sync.Mutex // guards all below
	target transport.Transport
	links  []*pickyLink
	held   bool // links take no requests
	worse  bool // it reaches no device
}

func newPicky(n *node) *picky { return &picky{node: n, target: inproc.New(n.target)} }

func (*picky) Name() string { return inproc.Name }

func (*picky) Plan(transport.Memory) (transport.Plan, error) {
	return transport.Plan{Path: uapi.PathRDMA, MaxLen: 1 << 20, Align: 1}, nil
}

func (p *picky) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.target.Dial(ctx, s)
	if err != nil {
		return nil, err
	}
	link := &pickyLink{Link: l, picky: p}
	p.links = append(p.links, link)
	return link, nil
}

// restart has the node start again. worse says that no device can be reached then.
func (p *picky) restart(worse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.node.start()
	p.target, p.worse = inproc.New(p.node.target), worse
}

// last is the latest of n links.
func (p *picky) last(t *testing.T, n int) *pickyLink {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.links) != n {
		t.Fatalf("%d links, not %d", len(p.links), n)
	}
	return p.links[n-1]
}

// hold says whether links take no requests from now on.
func (p *picky) hold(held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
}

type pickyLink struct {
	transport.Link
	picky *picky
}

type pickyAttachment struct {
	transport.Attachment
	mem   transport.Memory
	picky *picky
}

func (l *pickyLink) Attach(ctx context.Context, mem transport.Memory) (transport.Attachment, error) {
	a, err := l.Link.Attach(ctx, mem)
	return pickyAttachment{a, mem, l.picky}, err
}

func (a pickyAttachment) Plan() transport.Plan {
	p, _ := a.picky.Plan(a.mem)
	a.picky.mu.Lock()
	defer a.picky.mu.Unlock()
	if a.mem.Domain().Device != 0 || a.picky.worse {
		p.Path, p.Why = uapi.PathHost, uapi.WhyNotRegistered
	}
	return p
}

// Submit takes one request at a time.
func (l *pickyLink) Submit(reqs []*transport.Request) (int, error) {
	if len(reqs) == 0 {
		return 0, nil
	}
	l.picky.mu.Lock()
	held := l.picky.held
	l.picky.mu.Unlock()
	if held {
		return 0, nil
	}
	r := reqs[0]
	forward := *r
	forward.To = transporttest.Done(func(res transport.Result) {
		if res.Err == nil {
			res.Path, res.Why = uapi.PathRDMA, uapi.WhyBest
		}
		transporttest.End(r, res)
	})
	return l.Link.Submit([]*transport.Request{&forward})
}

// device is memory of one of them.
type device struct {
	region
	number uint32
}

func newDevice(number uint32) *device { return &device{*newRegion(4096), number} }

func (d *device) Domain() transport.Domain { return transport.Domain{UID: 1, Device: d.number} }

// fetched is how the beginning of file 1 came into d.
func (d *device) fetched(t *testing.T, f *remote.File) transport.Result {
	t.Helper()
	transporttest.Scribble(d.Mapped)
	res := <-d.submit(f, 0, len(d.Mapped))
	if res.Err == nil {
		res.Err = transporttest.Check(d.Mapped, tag(1, 1), 0)
	}
	return res
}

func (d *device) submit(f *remote.File, at, n int) <-chan transport.Result {
	done := make(chan transport.Result, 2)
	f.Submit([]*transport.Request{{
		Off: int64(at), Dst: transport.Span{Mem: d, Off: int64(at), Len: int64(n)},
		To: transporttest.Done(func(res transport.Result) { done <- res }),
	}})
	return done
}

// twoDevices connects by tcp and the fake, with two devices.
func twoDevices(t *testing.T, change ...func(*remote.Config)) (*picky, *remote.Target, *remote.File, [2]*device) {
	t.Helper()
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	p := newPicky(n)
	cfg := n.config()
	cfg.Candidates = use(tcp.New(false), p)
	cfg.Probe = []transport.Memory{newDevice(0), newDevice(1)}
	for _, c := range change {
		c(&cfg)
	}
	r := connect(t, cfg)
	devices := [2]*device{newDevice(0), newDevice(1)}
	for _, d := range devices[:len(cfg.Probe)] {
		if err := r.Attach(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	return p, r, open(t, r, 1), devices
}

// checkPaths fetches into both devices, which say how their bytes came.
func checkPaths(t *testing.T, f *remote.File, devices [2]*device) {
	t.Helper()
	if res := devices[0].fetched(t, f); res.Err != nil || res.Path != uapi.PathRDMA || res.Why != uapi.WhyBest {
		t.Errorf("device 0: %+v", res)
	}
	if res := devices[1].fetched(t, f); res.Err != nil || res.Path != uapi.PathStaged || res.Why != uapi.WhyNotRegistered {
		t.Errorf("device 1: %+v", res)
	}
}

// TestLinkForEachDevice has each memory served by the link that reaches it best, and
// all of them again after a link was lost, and after the target was.
func TestLinkForEachDevice(t *testing.T) {
	log := new(logged)
	p, r, f, devices := twoDevices(t, func(cfg *remote.Config) { cfg.Log = slog.New(slog.NewTextHandler(log, nil)) })
	checkPaths(t, f, devices)
	if err := read(t.Context(), f, 1, 1, 0, 4096); err != nil {
		t.Error(err)
	}
	for i, v := range r.Transports() {
		if want := []string{tcp.Name, inproc.Name}[i]; v.Name != want || !v.Chosen || v.Err != nil {
			t.Errorf("%+v", v)
		}
	}
	if log.count("transport=tcp path=staged why=\""+uapi.WhyNotRegistered.String()) == 0 {
		t.Error("the log does not say which transport serves device 1, and why")
	}
	p.last(t, 1).Close() // the end of one link is the session's
	until(t, "another session", func() bool { return devices[0].fetched(t, f).Err == nil && r.Stats().Sessions == 2 })
	checkPaths(t, f, devices)
	p.node.kill()
	p.restart(false)
	checkPaths(t, f, devices)
	p.last(t, 3)
	s := r.Stats()
	links := s.Links
	if len(links) != 2 || links[tcp.Name].Connections != 2 || links[inproc.Name].Connections != 1 || s.Link.Connections != 3 ||
		links[tcp.Name].Bytes+links[inproc.Name].Bytes != s.Link.Bytes || links[tcp.Name].Bytes < 3*4096 {
		t.Errorf("%+v", s)
	}
	for _, d := range devices {
		if err := r.Detach(d); err != nil {
			t.Error(err)
		}
	}
}

// TestLinksDoNotWaitForEachOther: one link takes nothing, and another goes on.
func TestLinksDoNotWaitForEachOther(t *testing.T) {
	p, _, f, devices := twoDevices(t)
	p.hold(true)
	var held []<-chan transport.Result
	for i := range 200 { // more than a batch
		held = append(held, devices[0].submit(f, 16*i, 16))
	}
	for range 20 {
		if res := devices[1].fetched(t, f); res.Err != nil || res.Path != uapi.PathStaged {
			t.Fatalf("%+v", res)
		}
	}
	p.hold(false)
	for _, done := range held {
		if res := <-done; res.Err != nil || res.Path != uapi.PathRDMA {
			t.Fatalf("%+v", res)
		}
	}
}

// TestAttachWhileAway: nobody can say which link serves the memory, until there is one.
func TestAttachWhileAway(t *testing.T) {
	p, r, f, devices := twoDevices(t)
	p.node.kill()
	until(t, "the loss is known", r.IsAway)
	late := newDevice(1)
	if err := r.Attach(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	var waiting []<-chan transport.Result
	for _, d := range []*device{late, devices[0], devices[1]} {
		waiting = append(waiting, d.submit(f, 0, 4096))
	}
	p.restart(false)
	for i, want := range []uapi.Path{uapi.PathStaged, uapi.PathRDMA, uapi.PathStaged} {
		if res := <-waiting[i]; res.Err != nil || res.Path != want {
			t.Errorf("request %d: %+v", i, res)
		}
	}
}

// TestDirectIsRequiredOfEachDevice: one that is not reached so is refused at once, and
// memory of its kind is later.
func TestDirectIsRequiredOfEachDevice(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	cfg := n.config()
	cfg.Candidates, cfg.RequireDirect = use(tcp.New(false), newPicky(n)), true
	cfg.Probe = []transport.Memory{newDevice(0), newDevice(1)}
	_, err := remote.Connect(t.Context(), cfg)
	if !errors.Is(err, transport.ErrNotDirect) || !errors.Is(err, transport.ErrUnavailable) {
		t.Fatal(err)
	}
	for _, text := range []string{"device 1", inproc.Name + ": ", uapi.WhyNotRegistered.String(), tcp.Name + ": its path is"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	cfg.Probe = cfg.Probe[:1]
	r := connect(t, cfg)
	d := newDevice(1)
	if err := r.Attach(t.Context(), d); !errors.Is(err, transport.ErrNotDirect) {
		t.Errorf("attach: %v", err)
	}
	if res := d.fetched(t, open(t, r, 1)); !errors.Is(res.Err, transport.ErrUnavailable) {
		t.Errorf("fetch: %+v", res)
	}
}

// TestDirectIsLost: after a recovery, a memory has no direct path any more. Its
// requests fail, until it has one again.
func TestDirectIsLost(t *testing.T) {
	p, _, f, devices := twoDevices(t, func(cfg *remote.Config) { cfg.RequireDirect, cfg.Probe = true, cfg.Probe[:1] })
	for _, worse := range []bool{false, true, false} {
		p.node.kill()
		p.restart(worse)
		res := devices[0].fetched(t, f)
		if worse != errors.Is(res.Err, transport.ErrNotDirect) || !worse && res.Err != nil {
			t.Errorf("worse: %t: %+v", worse, res)
		}
	}
}

// TestFurtherLink is of a transport that only later memory needs. While it can't be
// dialled, that memory is refused, and nothing else.
func TestFurtherLink(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	p := newPicky(n)
	cfg := n.config()
	cfg.Candidates, cfg.Timeout = use(p, closedTCP{}), time.Second
	cfg.Probe = []transport.Memory{newDevice(0)}
	r := connect(t, cfg)
	d, other := newDevice(0), newDevice(1)
	if err := r.Attach(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := r.Attach(t.Context(), other); !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("attach: %v", err)
	}
	if res := d.fetched(t, open(t, r, 1)); res.Err != nil || r.Stats().Sessions != 1 {
		t.Errorf("%+v, %+v", res, r.Stats())
	}
	if v := r.Transports()[1]; v.Err != nil || v.Chosen {
		t.Errorf("%+v", v)
	}
}

// closedTCP reaches no target.
type closedTCP struct{ transport.Transport }

func (closedTCP) Name() string { return tcp.Name }

func (closedTCP) Plan(mem transport.Memory) (transport.Plan, error) { return tcp.New(false).Plan(mem) }

func (closedTCP) Dial(context.Context, transport.Session) (transport.Link, error) {
	return nil, transport.ErrConnLost
}
