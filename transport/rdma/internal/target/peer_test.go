package target

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
	"hbmfs/transport/transporttest"
)

// served is a server on this host's device, with one session.
type served struct {
	sessions *transporttest.Sessions
	server   *Server
	session  transport.Session
}

// startServer serves source until the test ends.
func startServer(t *testing.T, source transport.Source, change ...func(*Server)) *served {
	t.Helper()
	ip := netip.MustParseAddr(labAddr(t))
	g := &served{sessions: transporttest.NewSessions()}
	g.session = g.sessions.Open(source)
	g.session.Connections, g.session.Timeout = 1, time.Minute
	g.server = New(g.sessions, transporttest.Ample(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	for _, c := range change {
		c(g.server)
	}
	if err := g.server.Listen(netip.AddrPortFrom(ip, 0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.server.Close(); err != nil {
			t.Error(err)
		}
	})
	g.session.Addr = g.server.listener.Local().String()
	return g
}

// patience is how long a peer waits for what must come.
const patience = 20 * time.Second

// peer is a client made by hand, which can say what a client never would.
type peer struct {
	t      *testing.T
	events *verbs.Events
	id     *verbs.ID
	ctx    *verbs.Context
	pd     *verbs.PD
	cq     *verbs.CQ
	qp     *verbs.QP
	mr     *verbs.MR
	area   []byte // mailbox, proof area, message to send, payload
	closed bool
}

const (
	peerProof   = (wire.Depth + 1) * wire.SlotSize
	peerMessage = peerProof + wire.ProofSize
	peerPayload = peerMessage + 2*wire.Depth*wire.SlotSize + wire.HelloSize
	peerArea    = peerPayload + 4<<20
)

// newPeer goes as far as the route to the target.
func newPeer(t *testing.T, addr string) *peer {
	t.Helper()
	p := &peer{t: t}
	t.Cleanup(p.close)
	var err error
	p.events, err = verbs.NewEvents()
	p.must(err)
	watchdog := time.AfterFunc(patience, p.events.Interrupt)
	t.Cleanup(func() { watchdog.Stop() })
	p.id, err = p.events.NewID()
	p.must(err)
	p.must(p.id.ResolveAddr(netip.MustParseAddrPort(addr), patience))
	p.event(verbs.AddrResolved)
	p.must(p.id.ResolveRoute(patience))
	p.event(verbs.RouteResolved)
	p.build()
	return p
}

func (p *peer) build() {
	p.t.Helper()
	name, _ := p.id.Device()
	var err error
	p.ctx, err = verbs.Open(name)
	p.must(err)
	p.pd, err = p.ctx.AllocPD()
	p.must(err)
	p.area, err = verbs.Alloc(peerArea)
	p.must(err)
	p.mr, err = p.pd.Register(p.area, verbs.LocalWrite|verbs.RemoteWrite)
	p.must(err)
	p.cq, err = p.ctx.NewCQ(256)
	p.must(err)
	watchdog := time.AfterFunc(patience, p.cq.Interrupt)
	p.t.Cleanup(func() { watchdog.Stop() })
	p.qp, err = p.pd.NewQP(p.cq, p.cq, verbs.QPConfig{SendDepth: 64, RecvDepth: 64})
	p.must(err)
}

// close leaves as a process does that dies: without a word on the queue pair.
func (p *peer) close() {
	if p.closed {
		return
	}
	p.closed = true
	if p.qp != nil {
		p.qp.Close()
		p.cq.Close()
		p.mr.Close()
		verbs.Free(p.area)
	}
	if p.ctx != nil {
		p.pd.Close()
		p.ctx.Close()
	}
	if p.id != nil {
		p.id.Close()
	}
	if p.events != nil {
		p.events.Close()
	}
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) event(want verbs.EventKind) verbs.Event {
	p.t.Helper()
	ev, err := p.events.Next()
	p.must(err)
	if ev.Kind != want {
		p.t.Fatalf("%v (status %d), not %v", ev.Kind, ev.Status, want)
	}
	return ev
}

// knock connects with private data of any kind, and returns what it is told.
func (p *peer) knock(private []byte) verbs.Event {
	p.t.Helper()
	p.must(p.id.Connect(p.qp.Number(), private))
	ev, err := p.events.Next()
	p.must(err)
	return ev
}

// enter connects as s says, up to the first message, which message may spoil.
func (p *peer) enter(s transport.Session, message func([]byte)) {
	p.t.Helper()
	r := wire.ConnectRequest{MTU: 1024, Session: s.ID, Nonce: wire.NewNonce()}
	ev := p.knock(wire.AppendConnect(nil, r, s.Secret))
	if ev.Kind != verbs.ConnectResponse {
		p.t.Fatalf("%v, %v", ev.Kind, wire.ParseReject(ev.Private))
	}
	accepted, err := wire.ParseAccept(ev.Private, r, s.Secret)
	p.must(err)
	p.must(p.id.Move(p.qp, verbs.Init, 0))
	p.must(p.qp.PostRecv(make([]verbs.Recv, wire.Depth+2)))
	p.must(p.id.Move(p.qp, verbs.ReadyToReceive, int(accepted)))
	p.must(p.id.Move(p.qp, verbs.ReadyToSend, 0))
	p.must(p.id.Establish())
	b := p.area[peerMessage:peerPayload]
	h := wire.Hello{Mailbox: p.mr.Addr, Proof: p.mr.Addr + peerProof, RKey: p.mr.RKey}
	b = wire.AppendHello(b[:0], h)
	if message != nil {
		message(b)
	}
	p.send(b)
}

// send sends messages that lie in the area.
func (p *peer) send(messages ...[]byte) {
	p.t.Helper()
	var w []verbs.Work
	for _, m := range messages {
		w = append(w, verbs.Work{Op: verbs.WorkSend, Signaled: true, Local: verbs.Addr(m), Len: uint32(len(m)), LKey: p.mr.LKey})
	}
	p.must(p.qp.Post(w))
}

// record waits for a record and returns it, or how the connection ended.
func (p *peer) record() (wire.Record, error) {
	p.t.Helper()
	var wc [1]verbs.Completion
	for {
		n, err := p.cq.Poll(wc[:])
		if err == nil && n == 0 {
			err = p.cq.Wait()
		}
		p.must(err)
		switch {
		case n == 0:
		case wc[0].Status != verbs.StatusOK:
			return wire.Record{}, fmt.Errorf("%w: %v", transport.ErrConnLost, wc[0].Status)
		case wc[0].HasImm:
			p.must(p.qp.PostRecv([]verbs.Recv{{}}))
			rec, err := wire.ParseRecord(p.area[wire.Tag(wc[0].Imm).Slot()*wire.SlotSize:])
			if rec.Tag != wire.Tag(wc[0].Imm) {
				p.t.Errorf("record of %#x with immediate %#x", rec.Tag, wc[0].Imm)
			}
			return rec, err
		}
	}
}

// up connects and proves the path.
func up(t *testing.T, s transport.Session) *peer {
	t.Helper()
	p := newPeer(t, s.Addr)
	p.enter(s, nil)
	rec, err := p.record()
	p.must(err)
	if rec.Tag != wire.NewTag(wire.Depth, 0) || wire.CheckPattern(p.area[peerProof:][:wire.ProofSize]) != nil {
		t.Fatalf("no proof: %+v", rec)
	}
	return p
}

// message puts requests at the i-th place for messages.
func (p *peer) message(i int, requests ...wire.Request) []byte {
	b := p.area[peerMessage+i*wire.SlotSize:][:0]
	for _, r := range requests {
		b = wire.AppendRequest(b, r)
	}
	return b
}

// call is one that is answered in the payload area, each slot's in its place.
func (p *peer) call(slot int, ask []byte) wire.Request {
	r := p.ask(slot, transport.FileRef{}, 0, 0)
	r.Ask = ask
	r.Addr += uint64(slot * transport.MaxCall)
	return r
}

// ask is a request for the payload area.
func (p *peer) ask(slot int, file transport.FileRef, off int64, n int) wire.Request {
	return wire.Request{
		Tag: wire.NewTag(slot, 1), Checksum: true, File: file, Off: off,
		Addr: p.mr.Addr + peerPayload, Length: uint32(n), RKey: p.mr.RKey,
	}
}

// fetches checks that the right bytes come.
func (p *peer) fetches(file transport.FileRef, off int64, n int) {
	p.t.Helper()
	payload := p.area[peerPayload:][:n]
	transporttest.Scribble(payload)
	p.send(p.message(0, p.ask(3, file, off, n)))
	rec, err := p.record()
	p.must(err)
	if rec.Status != status.OK || int(rec.Length) != n || rec.File != file || rec.Off != off {
		p.t.Fatalf("%+v", rec)
	}
	if err := transporttest.Check(payload, file, off); err != nil {
		p.t.Error(err)
	}
}

// ended waits until the server has ended the connection.
func (p *peer) ended() {
	p.t.Helper()
	for {
		ev, err := p.events.Next()
		if errors.Is(err, verbs.ErrInterrupted) {
			p.t.Fatal("the server did not end the connection")
		}
		p.must(err)
		if ev.Kind == verbs.Disconnected {
			return
		}
	}
}
