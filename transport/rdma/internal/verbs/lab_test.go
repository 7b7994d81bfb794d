//go:build linux && cgo

package verbs

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

const (
	labMTU  = 1024
	labSize = 1 << 20
	patient = 10 * time.Second
)

func unsupported(t *testing.T, need string) {
	t.Helper()
	t.Skip("unsupported: " + need)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// labAddr is an address of this host that a Soft-RoCE device has.
func labAddr(t *testing.T) netip.Addr {
	t.Helper()
	if os.Getenv("HBMFS_LAB") == "" || os.Getenv("HBMFS_RDMA_ADDR") == "" {
		unsupported(t, "no RDMA device by HBMFS_LAB and HBMFS_RDMA_ADDR (make lab has one)")
	}
	return netip.MustParseAddr(os.Getenv("HBMFS_RDMA_ADDR"))
}

// noLeak fails the test if it leaves more file descriptors than it found. The
// first use of a device through librdmacm keeps two, so it is used before.
func noLeak(t *testing.T) {
	t.Helper()
	warm, l := listen(t)
	check(t, l.Close())
	check(t, warm.events.Close())
	before := openFiles(t)
	t.Cleanup(func() {
		if after := openFiles(t); !slices.Equal(after, before) {
			t.Errorf("open files before: %q\nafter: %q", before, after)
		}
	})
}

func openFiles(t *testing.T) []string {
	t.Helper()
	entries := must(os.ReadDir("/proc/self/fd"))(t)
	var targets []string
	for _, e := range entries {
		// ReadDir's own is gone by now.
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			targets = append(targets, to)
		}
	}
	slices.Sort(targets)
	return targets
}

// side is one end of a connection with everything it owns.
type side struct {
	t      *testing.T
	events *Events
	id     *ID
	ctx    *Context
	pd     *PD
	cq     *CQ
	qp     *QP
	mem    []byte
	mr     *MR
}

// open makes the objects on the device that the identifier goes through.
func (s *side) open() {
	t := s.t
	t.Helper()
	name, port := s.id.Device()
	s.ctx = must(Open(name))(t)
	if a := must(s.ctx.Port(port))(t); !a.Active || a.ActiveMTU < labMTU || a.LinkLayer != "Ethernet" {
		t.Fatalf("port %d of %s: %+v", port, name, a)
	}
	s.pd = must(s.ctx.AllocPD())(t)
	s.cq = must(s.ctx.NewCQ(128))(t)
	s.qp = must(s.pd.NewQP(s.cq, s.cq, QPConfig{SendDepth: 48, RecvDepth: 48}))(t)
	s.mem = must(Alloc(labSize))(t)
	s.mr = must(s.pd.Register(s.mem, LocalWrite|RemoteWrite))(t)
}

func (s *side) close() {
	s.t.Helper()
	for range 2 { // Close is idempotent
		check(s.t, s.id.Close())
		check(s.t, s.qp.Close())
		check(s.t, s.cq.Close())
		check(s.t, s.mr.Close())
		check(s.t, s.pd.Close())
		check(s.t, s.ctx.Close())
		check(s.t, s.events.Close())
	}
	check(s.t, Free(s.mem))
}

// event expects the next event to be of one kind.
func (s *side) event(kind EventKind) Event {
	s.t.Helper()
	ev := must(s.events.Next())(s.t)
	if ev.Kind != kind || (ev.Status != 0 && kind != Rejected) {
		s.t.Fatalf("%v, status %d; want %v", ev.Kind, ev.Status, kind)
	}
	return ev
}

func (s *side) resolve(dst netip.AddrPort) {
	s.t.Helper()
	s.id = must(s.events.NewID())(s.t)
	check(s.t, s.id.ResolveAddr(dst, patient))
	if ev := s.event(AddrResolved); ev.ID != s.id {
		s.t.Fatal("the event names another identifier")
	}
	check(s.t, s.id.ResolveRoute(patient))
	s.event(RouteResolved)
}

func (s *side) move(states ...QPState) {
	s.t.Helper()
	for _, to := range states {
		check(s.t, s.id.Move(s.qp, to, labMTU))
	}
}

// completions waits for n, in their order.
func (s *side) completions(n int) []Completion {
	s.t.Helper()
	var got []Completion
	buf := make([]Completion, 64)
	for len(got) < n {
		k := must(s.cq.Poll(buf))(s.t)
		got = append(got, buf[:k]...)
		if k == 0 {
			check(s.t, s.cq.Wait())
		}
	}
	return got
}

func (s *side) completion(want Completion) {
	s.t.Helper()
	if got := s.completions(1); len(got) != 1 || got[0] != want {
		s.t.Fatalf("%+v, want %+v", got, want)
	}
}

func (s *side) post(w ...Work) {
	s.t.Helper()
	check(s.t, s.qp.Post(w))
}

// listen makes a listener on any port, and a side to accept on.
func listen(t *testing.T) (*side, *ID) {
	t.Helper()
	s := &side{t: t, events: must(NewEvents())(t)}
	l := must(s.events.NewID())(t)
	check(t, l.Bind(netip.AddrPortFrom(labAddr(t), 0)))
	check(t, l.Listen(4))
	return s, l
}

// connected brings both sides up, with private data both ways.
func connected(t *testing.T) (client, server *side) {
	t.Helper()
	server, l := listen(t)
	client = &side{t: t, events: must(NewEvents())(t)}
	client.resolve(l.Local())
	client.open()
	client.move(Init)
	check(t, client.id.Connect(client.qp.Number(), []byte("the client's")))

	req := server.event(ConnectRequest)
	if req.ID == l || string(req.Private[:12]) != "the client's" {
		t.Fatalf("%+v", req)
	}
	server.id = req.ID
	server.open()
	server.move(Init, ReadyToReceive, ReadyToSend)
	check(t, server.id.Accept(server.qp.Number(), []byte("the server's")))

	if resp := client.event(ConnectResponse); string(resp.Private[:12]) != "the server's" {
		t.Fatalf("%+v", resp)
	}
	client.move(ReadyToReceive, ReadyToSend)
	check(t, client.id.Establish())
	if ev := server.event(Established); ev.ID != server.id {
		t.Fatal("the event names another identifier")
	}
	if client.id.Peer() != l.Local() || server.id.Peer() != client.id.Local() {
		t.Errorf("addresses: %v to %v, %v to %v", client.id.Local(), client.id.Peer(), server.id.Local(), server.id.Peer())
	}
	check(t, l.Close())
	return client, server
}
