package tcp

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/transporttest"
)

func TestReconnect(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	var k transporttest.Cutter
	s := startTarget(t, source, k.Wrap).session
	s.Connections, s.Timeout = 3, time.Minute
	l := dial(t, s)
	for range 3 {
		k.Cut()
		eventually(t, "a request is answered after a reconnect", func() bool {
			mem := transporttest.NewMapped(4096)
			attach(t, l, mem)
			r := &transport.Request{File: file, Dst: transport.Span{Mem: mem, Len: 4096}}
			ended := make(chan transport.Result, 1)
			r.To = transporttest.Done(func(res transport.Result) { ended <- res })
			n, err := l.Submit([]*transport.Request{r})
			if n == 1 {
				err = (<-ended).Err
			}
			if err != nil && !errors.Is(err, transport.ErrConnLost) {
				t.Fatal(err)
			}
			return err == nil && transporttest.Check(*mem, file, 0) == nil
		})
		eventually(t, "all connections are back", func() bool { return l.Stats().Connections == 3 })
	}
	if n := l.Stats().Reconnects; n < 9 {
		t.Errorf("%d reconnects, 9 connections were cut", n)
	}
}

// TestSessionEnds has the target forget the session: the link is of no more use.
func TestSessionEnds(t *testing.T) {
	var k transporttest.Cutter
	g := startTarget(t, transporttest.NewSource(), k.Wrap)
	g.session.Connections = 2
	l := dial(t, g.session)
	mem := transporttest.NewMapped(8)
	attach(t, l, mem)
	g.sessions.End(g.session.ID)
	k.Cut()
	r := &transport.Request{Dst: transport.Span{Mem: mem, Len: 8}, To: transporttest.Done(func(transport.Result) {})}
	eventually(t, "the link says that its session was refused", func() bool {
		_, err := l.Submit([]*transport.Request{r})
		return errors.Is(err, transport.ErrSession)
	})
	if _, err := l.Attach(t.Context(), transporttest.NewFakeDevice(t, 8)); !errors.Is(err, transport.ErrSession) {
		t.Errorf("Attach: %v", err)
	}
}

// TestLiarIsAlone has the peer lie on one of two connections.
func TestLiarIsAlone(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 2<<20)
	hold := source.Hold(1)
	s := startTarget(t, source).session
	p := startProxy(t, s.Addr, transporttest.FaultStatus)
	s.Addr, s.Connections, s.Timeout = p.addr, 2, time.Minute
	l := dial(t, s)
	var mems [2]*transporttest.Mapped
	var ended [2]<-chan transport.Result
	for i := range mems { // the second goes to the idle connection
		mems[i] = transporttest.NewMapped(1 << 20)
		ended[i] = submit(t, l, file, int64(i)<<20, mems[i])
	}
	hold.Release()
	failed := 0
	for i, e := range ended {
		res := <-e
		if res.Err == nil {
			res.Err = transporttest.Check(*mems[i], file, int64(i)<<20)
		} else if errors.Is(res.Err, transport.ErrProtocol) {
			failed++
			continue
		}
		if res.Err != nil {
			t.Error(res.Err)
		}
	}
	if failed != 1 {
		t.Errorf("%d of 2 requests failed", failed)
	}
}

// TestNoAllocations counts what a request costs the client's garbage collector,
// with a peer that allocates nothing either.
func TestNoAllocations(t *testing.T) {
	const size = 4096
	s := fakePeer(t, func(c net.Conn) {
		in, out := make([]byte, frame.RequestSize), make([]byte, frame.ReplySize+size)
		for {
			if _, err := io.ReadFull(c, in); err != nil {
				return
			}
			r, _ := frame.ParseRequest(in)
			frame.Reply{ID: r.ID, Length: size}.Put(out)
			c.Write(out)
		}
	})
	l := dial(t, s)
	mem := transporttest.NewMapped(size)
	attach(t, l, mem)
	ended := make(chan error, 1)
	reqs := []*transport.Request{{Dst: transport.Span{Mem: mem, Len: size}}}
	reqs[0].To = transporttest.Done(func(res transport.Result) { ended <- res.Err })
	allocs := testing.AllocsPerRun(500, func() {
		if n, err := l.Submit(reqs); n != 1 {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a request", allocs)
	}
}
