package target

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/liveness"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
	"hbmfs/transport/transporttest"
)

const fileSize = 32 << 20

func TestServes(t *testing.T) {
	source := transporttest.NewSource()
	warm, cold := source.Add(1, fileSize), source.Add(2, fileSize)
	source.Chill(2)
	g := startServer(t, source)
	p := up(t, g.session)
	for _, n := range []int{0, 1, 4096, 64<<10 + 1, pieceSize, pieceSize + 1, 3*pieceSize + 5} {
		p.fetches(warm, 7, n)
		p.fetches(cold, 4096, n)
	}
	if n, _ := g.server.usage(); n != 1 {
		t.Errorf("%d connections", n)
	}
	p.close()
	settled(t, g.server, 0)
}

// TestServesMessages has calls share a message, and then one that opens a file and a
// read of that.
func TestServesMessages(t *testing.T) {
	g := startServer(t, transporttest.NewSource())
	p := up(t, g.session)
	var calls []wire.Request
	for slot := range wire.Batch {
		calls = append(calls, p.call(slot, bytes.Repeat([]byte{byte(slot)}, 100)))
	}
	p.send(p.message(0, calls...))
	for range calls {
		rec, err := p.record()
		p.must(err)
		slot := rec.Tag.Slot()
		if got := p.area[peerPayload+slot*transport.MaxCall:][:100]; rec.Length != 100 || !bytes.Equal(got, calls[slot].Ask) {
			t.Errorf("%+v, %x", rec, got)
		}
	}
	ask, file := transporttest.Opens(9, fileSize)
	read := p.ask(1, file, 7, 64<<10)
	read.Addr += transport.MaxCall
	read.Chained = true
	p.send(p.message(0, p.call(0, ask), read))
	for slot := range 2 {
		if rec, err := p.record(); err != nil || rec.Tag.Slot() != slot || rec.Status != status.OK {
			t.Fatalf("%+v, %v", rec, err)
		}
	}
	if err := transporttest.Check(p.area[peerPayload+transport.MaxCall:][:64<<10], file, 7); err != nil {
		t.Error(err)
	}
	p.close()
	settled(t, g.server, 0)
}

// usage is how many connections a server has, the ones being set up included, and
// how many staging buffers they hold.
func (s *Server) usage() (conns, staging int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), int(s.arena.limit.Used())
}

// settled waits until a server has n connections, and its staging back.
func settled(t *testing.T, s *Server, n int) {
	t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		conns, staging := s.usage()
		if conns == n && staging == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d connections, %d staging buffers in use; want %d, 0", conns, staging, n)
		}
	}
}

// TestBadClients has each break the protocol in its way; another client's
// fetches go on.
func TestBadClients(t *testing.T) {
	source := transporttest.NewSource()
	file, cold := source.Add(1, fileSize), source.Add(2, fileSize)
	held := source.Hold(2)
	defer held.Release()
	g := startServer(t, source)
	good := up(t, g.session)
	for _, c := range []struct {
		what string
		act  func(*peer)
	}{
		{"33 requests at once", func(p *peer) {
			var all [][]byte
			for i := range wire.Depth + 1 {
				all = append(all, p.message(i, p.ask(i%wire.Depth, cold, 0, 4096)))
			}
			p.send(all...)
		}},
		{"unknown flags", func(p *peer) {
			m := p.message(0, p.ask(0, file, 0, 4096))
			m[4] = 8
			p.send(m)
		}},
		{"a slot twice in a message", func(p *peer) { p.send(p.message(0, p.ask(0, cold, 0, 4096), p.ask(0, cold, 0, 4096))) }},
		{"an ask cut short", func(p *peer) { p.send(p.message(0, p.call(0, []byte("what?")))[:wire.RequestSize+4]) }},
		{"a message too long", func(p *peer) {
			p.send(p.message(0, p.call(0, make([]byte, 1000)), p.call(1, make([]byte, 1000))))
		}},
		{"a slot that there is none of", func(p *peer) { p.send(p.message(0, p.ask(wire.Depth, file, 0, 4096))) }},
		{"too long", func(p *peer) { p.send(p.message(0, p.ask(0, file, 0, wire.MaxLen+1))) }},
		{"a short message", func(p *peer) { p.send(p.message(0, p.ask(0, file, 0, 4096))[:wire.RequestSize-1]) }},
		{"an empty message", func(p *peer) { p.send(p.message(0, p.ask(0, file, 0, 4096))[:0]) }},
		{"a key of nothing", func(p *peer) {
			r := p.ask(0, file, 0, 4096)
			r.RKey ^= 0x5a5a00
			p.send(p.message(0, r))
		}},
		{"past its region", func(p *peer) {
			r := p.ask(0, file, 0, 4096)
			r.Addr = p.mr.Addr + peerArea - 100
			p.send(p.message(0, r))
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := up(t, g.session)
			c.act(p)
			p.ended()
			if c.what == "33 requests at once" {
				held.Release()
			}
			p.close()
			settled(t, g.server, 1)
			good.t = t
			good.fetches(file, 8, 2*pieceSize)
		})
	}
	good.t = t
}

func TestBadHello(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, fileSize)
	g := startServer(t, source)
	for what, spoil := range map[string]func([]byte){
		"magic":   func(b []byte) { b[0]++ },
		"depth":   func(b []byte) { b[6]++ },
		"padding": func(b []byte) { b[40]++ },
		"pattern": func(b []byte) { b[wire.HelloSize-1]++ },
	} {
		p := newPeer(t, g.session.Addr)
		p.enter(g.session, spoil)
		t.Log(what)
		p.ended()
		p.close()
	}
	settled(t, g.server, 0)
	up(t, g.session).fetches(file, 0, 4096)
}

func TestRefusals(t *testing.T) {
	source := transporttest.NewSource()
	g := startServer(t, source)
	other := g.sessions.Open(source)
	r := wire.ConnectRequest{MTU: 1024, Session: g.session.ID, Nonce: wire.NewNonce()}
	fine := wire.AppendConnect(nil, r, g.session.Secret)
	spoilt := func(at int) []byte {
		b := append([]byte(nil), fine...)
		b[at]++
		return b
	}
	unknown := r
	unknown.Session[15] ^= 0x77
	noMTU, oddMTU := r, r
	noMTU.MTU, oddMTU.MTU = 0, 1500
	for _, c := range []struct {
		what    string
		private []byte
		want    error
	}{
		{"wrong magic", spoilt(0), transport.ErrProtocol},
		{"wrong version", spoilt(4), transport.ErrProtocol},
		{"wrong mac", spoilt(55), transport.ErrSession},
		{"another session's secret", wire.AppendConnect(nil, r, other.Secret), transport.ErrSession},
		{"unknown session", wire.AppendConnect(nil, unknown, g.session.Secret), transport.ErrSession},
		{"nothing", nil, transport.ErrProtocol},
		{"no MTU", wire.AppendConnect(nil, noMTU, g.session.Secret), transport.ErrProtocol},
		{"MTU of no packet", wire.AppendConnect(nil, oddMTU, g.session.Secret), transport.ErrProtocol},
	} {
		p := newPeer(t, g.session.Addr)
		ev := p.knock(c.private)
		if err := wire.ParseReject(ev.Private); ev.Kind != verbs.Rejected || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", c.what, ev.Kind, err)
		}
		p.close()
	}
	first, second := newPeer(t, g.session.Addr), newPeer(t, g.session.Addr)
	if ev := first.knock(fine); ev.Kind != verbs.ConnectResponse {
		t.Fatalf("%v", ev.Kind)
	}
	if ev := second.knock(fine); ev.Kind != verbs.Rejected || !errors.Is(wire.ParseReject(ev.Private), transport.ErrSession) {
		t.Errorf("replayed: %v", ev.Kind)
	}
	first.close()
	second.close()
	settled(t, g.server, 0)
}

// TestClientDies has it do so in the middle of its requests, some of which wait
// for storage.
func TestClientDies(t *testing.T) {
	source := transporttest.NewSource()
	file, cold := source.Add(1, fileSize), source.Add(2, fileSize)
	held := source.Hold(2)
	g := startServer(t, source)
	good, p := up(t, g.session), up(t, g.session)
	var all [][]byte
	for i := range wire.Depth {
		f := file
		if i%2 == 0 {
			f = cold
		}
		all = append(all, p.message(i, p.ask(i, f, 0, 3*pieceSize)))
	}
	p.send(all...)
	<-held.Reached()
	p.close()
	good.fetches(file, 0, pieceSize)
	held.Release()
	settled(t, g.server, 1)
	good.fetches(file, 0, pieceSize)
}

// TestClientFallsSilent loses an idle client without a word: nothing answers for
// its queue pair any more.
func TestClientFallsSilent(t *testing.T) {
	source := transporttest.NewSource()
	g := startServer(t, source)
	p := up(t, g.session)
	p.must(p.qp.Close())
	began := time.Now()
	for n := 1; n > 0; n, _ = g.server.usage() {
		if time.Since(began) > 2*liveness.Idle {
			t.Fatalf("the server still has its connection after %v", time.Since(began))
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("noticed after %v", time.Since(began))
}
