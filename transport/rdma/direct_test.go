package rdma

import (
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/transporttest"
)

// testTarget is a server on this host, with one session.
type testTarget struct {
	server  transport.Plane
	addr    netip.AddrPort
	session transport.Session
	started *transporttest.Sessions
}

var lastPort atomic.Uint32

// startTarget serves source on the lab's address until the test ends.
func startTarget(t *testing.T, source transport.Source) *testTarget {
	t.Helper()
	host, err := netip.ParseAddr(labAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	g := &testTarget{started: transporttest.NewSessions()}
	g.addr = netip.AddrPortFrom(host, uint16(20000+lastPort.Add(1)))
	g.session = g.started.Open(source)
	g.session.Addr = netip.AddrPortFrom(host, g.addr.Port()).String()
	g.session.Connections, g.session.Timeout = 2, 20*time.Second
	g.start(t)
	t.Cleanup(func() {
		if err := g.server.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *testTarget) start(t *testing.T) {
	t.Helper()
	g.server = NewPlane(g.started, transporttest.Ample(), slog.New(slog.NewTextHandler(logTo{t}, nil)))
	if err := g.server.Listen(g.addr); err != nil {
		t.Fatal(err)
	}
}

type logTo struct{ t *testing.T }

func (l logTo) Write(b []byte) (int, error) {
	l.t.Log(strconv.Quote(string(b)))
	return len(b), nil
}

// mappedMemory is memory that the CPU and the RDMA device can address. CopyIn
// fails its test: what can be registered needs no copy.
type mappedMemory struct {
	t       *testing.T
	mem     []byte
	revoked chan struct{}
}

func newMappedMemory(t *testing.T, size int) *mappedMemory {
	t.Helper()
	b, err := verbs.Alloc(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { verbs.Free(b) })
	transporttest.Scribble(b)
	return &mappedMemory{t, b, make(chan struct{})}
}

func (m *mappedMemory) Domain() transport.Domain   { return transport.Domain{UID: 1000, Device: 1} }
func (m *mappedMemory) Size() int64                { return int64(len(m.mem)) }
func (m *mappedMemory) DMABuf() (int, int64, bool) { return -1, 0, false }
func (m *mappedMemory) Bytes() []byte              { return m.mem }
func (m *mappedMemory) Visible(done func(error))   { done(nil) }
func (m *mappedMemory) Revoked() <-chan struct{}   { return m.revoked }

func (m *mappedMemory) CopyIn(dst int64, src []byte, done func(error)) {
	m.t.Error("a copy into memory that is registered")
	copy(m.mem[dst:], src)
	done(nil)
}

func (m *mappedMemory) Gather(dst int64, src []transport.Span, done func(error)) {
	done(transport.GatherCPU(m.mem, dst, src))
}

func dial(t *testing.T, s transport.Session) transport.Link {
	t.Helper()
	l, err := New().Dial(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func attach(t *testing.T, l transport.Link, mem transport.Memory) {
	t.Helper()
	a, err := l.Attach(t.Context(), mem)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

// submit returns a channel for each request's end.
func submit(t *testing.T, l transport.Link, file transport.FileRef, spans ...transport.Span) []chan transport.Result {
	t.Helper()
	var ends []chan transport.Result
	var reqs []*transport.Request
	for _, dst := range spans {
		end := make(chan transport.Result, 1)
		ends = append(ends, end)
		reqs = append(reqs, &transport.Request{File: file, Off: dst.Off, Dst: dst, To: transporttest.Done(func(r transport.Result) { end <- r })})
	}
	if n, err := l.Submit(reqs); n != len(reqs) || err != nil {
		t.Fatalf("%d of %d requests taken: %v", n, len(reqs), err)
	}
	return ends
}

// TestDirect fetches into memory that the device can write: no byte is copied,
// and each is in its place.
func TestDirect(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 8<<20)
	s := startTarget(t, source).session
	s.Checksums = true
	mem := newMappedMemory(t, 4<<20)
	if p, err := New().Plan(mem); err != nil || p.Path != uapi.PathRDMA || p.Why != uapi.WhyBest {
		t.Fatalf("plan %+v, %v", p, err)
	}
	l := dial(t, s)
	attach(t, l, mem)
	spans := []transport.Span{{Mem: mem, Off: 0, Len: 1}, {Mem: mem, Off: 4099, Len: 1 << 20}, {Mem: mem, Off: 2 << 20, Len: 2<<20 - 5}, {Mem: mem, Off: 8, Len: 0}}
	for i, end := range submit(t, l, file, spans...) {
		r := <-end
		if r.Err != nil || r.Path != uapi.PathRDMA || r.Why != uapi.WhyBest || r.HostCopies != 0 || r.DeviceCopies != 0 || !r.HasCRC {
			t.Errorf("%d bytes: %+v", spans[i].Len, r)
		}
		if err := transporttest.Check(mem.mem[spans[i].Off:spans[i].Off+spans[i].Len], file, spans[i].Off); err != nil {
			t.Error(err)
		}
	}
	if !transporttest.Scribbled(mem.mem[1:4099]) || !transporttest.Scribbled(mem.mem[4<<20-5:]) {
		t.Error("written outside of the destinations")
	}
	want := transport.RegistrationStats{Hits: 4, Misses: 1, Bytes: 4 << 20, How: "cpu-mapping"}
	if got := l.Stats().Registrations; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestTargetRestarts ends the target with requests under way: they fail, nothing
// is written afterwards, and the link finds the new target by itself.
func TestTargetRestarts(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 4<<20)
	g := startTarget(t, source)
	l := dial(t, g.session)
	mem := newMappedMemory(t, 4<<20)
	attach(t, l, mem)
	hold := source.Hold(1)
	defer hold.Release()
	ends := submit(t, l, file, transport.Span{Mem: mem, Len: 1 << 20}, transport.Span{Mem: mem, Off: 2 << 20, Len: 1 << 20})
	<-hold.Reached()
	closed := make(chan error)
	go func() { closed <- g.server.Close() }()
	for _, end := range ends {
		if r := <-end; !errors.Is(r.Err, transport.ErrConnLost) {
			t.Errorf("the target has ended: %+v", r)
		}
	}
	hold.Release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if !transporttest.Scribbled(mem.mem) {
		t.Error("written by a request that failed")
	}
	g.start(t)
	until := time.Now().Add(30 * time.Second)
	for {
		end := make(chan transport.Result, 1)
		n, err := l.Submit([]*transport.Request{{File: file, Dst: transport.Span{Mem: mem, Len: 4096}, To: transporttest.Done(func(r transport.Result) { end <- r })}})
		if n == 1 {
			if r := <-end; r.Err == nil {
				break
			}
		}
		if time.Now().After(until) {
			t.Fatalf("the link does not recover: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := transporttest.Check(mem.mem[:4096], file, 0); err != nil {
		t.Error(err)
	}
}

// TestNobodyListens dials a port that no target is at.
func TestNobodyListens(t *testing.T) {
	s := transport.Session{Addr: netip.AddrPortFrom(netip.MustParseAddr(labAddr(t)), 19999).String(), Connections: 1}
	if l, err := New().Dial(t.Context(), s); !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("%v, %v", l, err)
	} else {
		t.Log(err)
	}
}
