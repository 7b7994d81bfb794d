package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/transporttest"
)

const exchangeSize = 4096

// exchangeOn tries until the link has a connection for an exchange.
func exchangeOn(ctx context.Context, t *testing.T, l transport.Link, file transport.FileRef, off int64, dst []byte) transport.Result {
	t.Helper()
	var res transport.Result
	eventually(t, "an exchange ends", func() (ok bool) {
		res, ok = l.(transport.Exchanger).Exchange(ctx, file, off, dst)
		return ok
	})
	return res
}

func soloCount(l transport.Link) (idle, all int) {
	xs := &l.(*link).solos
	xs.mu.Lock()
	defer xs.mu.Unlock()
	return len(xs.idle), len(xs.all)
}

func TestExchange(t *testing.T) {
	for _, checksums := range []bool{false, true} {
		source := transporttest.NewSource()
		file := source.Add(1, 1<<20)
		s := startTarget(t, source).session
		s.Connections, s.Checksums = 2, checksums
		l := dial(t, s)
		for _, n := range []int{1, exchangeSize, exchangeMax} {
			dst := make(transport.HostMemory, n)
			res := exchangeOn(t.Context(), t, l, file, 8192, dst)
			if res.Err != nil || res.Path != transport.PathStaged {
				t.Fatalf("%d bytes: %+v", n, res)
			}
			if err := transporttest.Check(dst, file, 8192); err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		if _, ok := l.(transport.Exchanger).Exchange(t.Context(), file, 0, make([]byte, exchangeMax+1)); ok {
			t.Error("more than an exchange may bring came by one")
		}
		if st := l.Stats(); st.Requests != 3 || st.Bytes != 1+exchangeSize+exchangeMax || st.InFlight != 0 {
			t.Errorf("%+v", st)
		}
	}
}

// TestExchangeDeclined asks for what the target refuses: a request is to say why,
// and the connection stays.
func TestExchangeDeclined(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	s := startTarget(t, source).session
	s.Connections = 1
	l := dial(t, s)
	exchangeOn(t.Context(), t, l, file, 0, make([]byte, exchangeSize))
	if res, ok := l.(transport.Exchanger).Exchange(t.Context(), file, 1<<20, make([]byte, exchangeSize)); ok {
		t.Errorf("past the end: %+v", res)
	}
	if idle, all := soloCount(l); idle != 1 || all != 1 {
		t.Errorf("%d of %d connections are idle", idle, all)
	}
	if st := l.Stats(); st.Requests != 1 || st.InFlight != 0 {
		t.Errorf("%+v", st)
	}
}

// TestExchangeTLS has a session whose bytes are encrypted: only requests are.
func TestExchangeTLS(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	l := dial(t, startTLS(t, source, ALPN))
	if _, ok := l.(transport.Exchanger).Exchange(t.Context(), file, 0, make([]byte, exchangeSize)); ok {
		t.Error("an exchange under TLS")
	}
	if _, all := soloCount(l); all != 0 {
		t.Errorf("%d connections without TLS", all)
	}
}

// TestExchangeLies has a peer that lies in its answers, each time in another way,
// and each time costs it the connection.
func TestExchangeLies(t *testing.T) {
	for what, lie := range map[string]func(r *frame.Reply, payload []byte) int{
		"wrong checksum":   func(_ *frame.Reply, p []byte) int { p[17] ^= 1; return len(p) },
		"no checksum":      func(r *frame.Reply, p []byte) int { r.Checksum = false; return len(p) },
		"another id":       func(r *frame.Reply, p []byte) int { r.ID++; return len(p) },
		"too short":        func(r *frame.Reply, p []byte) int { r.Length = 16; return 16 },
		"too long":         func(r *frame.Reply, p []byte) int { r.Length++; return len(p) },
		"bytes behind":     func(r *frame.Reply, p []byte) int { r.Length -= 8; return len(p) },
		"unknown status":   func(r *frame.Reply, _ []byte) int { *r = frame.Reply{ID: r.ID, Status: status.End}; return 0 },
		"failure and more": func(r *frame.Reply, p []byte) int { *r = frame.Reply{ID: r.ID, Status: status.Stale}; return len(p) },
	} {
		asked := make(chan struct{}, 16)
		l := dial(t, withChecksums(fakePeer(t, func(c net.Conn) {
			var in [frame.RequestSize]byte
			for {
				if _, err := io.ReadFull(c, in[:]); err != nil {
					return
				}
				r, _ := frame.ParseRequest(in[:])
				out := make([]byte, frame.ReplySize+r.Length)
				h := frame.Reply{ID: r.ID, Length: r.Length, Checksum: r.Checksum}
				n := lie(&h, out[frame.ReplySize:])
				h.Put(out)
				c.Write(out[:frame.ReplySize+n])
				asked <- struct{}{}
			}
		})))
		eventually(t, what+": asked", func() bool {
			if res, ok := l.(transport.Exchanger).Exchange(t.Context(), transport.FileRef{}, 0, make([]byte, exchangeSize)); ok {
				t.Fatalf("%s: %+v", what, res)
			}
			return len(asked) > 0
		})
		if idle, _ := soloCount(l); idle != 0 {
			t.Errorf("%s: the connection is used again", what)
		}
	}
}

func withChecksums(s transport.Session) transport.Session {
	s.Checksums = true
	return s
}

// deafPeer takes requests and never answers. asked gets one value for each.
func deafPeer(t *testing.T) (s transport.Session, asked chan struct{}) {
	asked = make(chan struct{}, 16)
	return fakePeer(t, func(c net.Conn) {
		var in [frame.RequestSize]byte
		for {
			if _, err := io.ReadFull(c, in[:]); err != nil {
				return
			}
			asked <- struct{}{}
		}
	}), asked
}

// TestExchangeGivenUp ends the wait for a peer that never answers, in each way
// that there is.
func TestExchangeGivenUp(t *testing.T) {
	t.Run("canceled", func(t *testing.T) {
		s, asked := deafPeer(t)
		l := dial(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		res := exchangeOn(ctx, t, l, transport.FileRef{}, 0, make([]byte, exchangeSize))
		if !errors.Is(res.Err, context.Canceled) {
			t.Error(res.Err)
		}
		if _, all := soloCount(l); all != 0 {
			t.Error("a connection that still owes an answer is used again")
		}
	})
	t.Run("timed out", func(t *testing.T) {
		s, _ := deafPeer(t)
		s.Timeout = 10 * time.Millisecond
		res := exchangeOn(t.Context(), t, dial(t, s), transport.FileRef{}, 0, make([]byte, exchangeSize))
		if !errors.Is(res.Err, transport.ErrStalled) {
			t.Error(res.Err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		s, asked := deafPeer(t)
		l := dial(t, s)
		ended := make(chan bool)
		go func() {
			for len(asked) == 0 {
				if _, ok := l.(transport.Exchanger).Exchange(t.Context(), transport.FileRef{}, 0, make([]byte, exchangeSize)); ok {
					ended <- true
				}
			}
			ended <- false
		}()
		eventually(t, "the reader is blocked", func() bool { return len(asked) == 1 })
		l.Close()
		if <-ended {
			t.Error("a link that was closed has answered")
		}
		if _, ok := l.(transport.Exchanger).Exchange(t.Context(), transport.FileRef{}, 0, make([]byte, 8)); ok {
			t.Error("an exchange on a closed link")
		}
	})
}

// TestExchangeReconnects cuts all connections: the next exchanges fail, and then
// there are new ones.
func TestExchangeReconnects(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	var k transporttest.Cutter
	s := startTarget(t, source, k.Wrap).session
	s.Connections, s.Timeout = 1, time.Minute
	l := dial(t, s)
	for range 3 {
		dst := make(transport.HostMemory, exchangeSize)
		if res := exchangeOn(t.Context(), t, l, file, 0, dst); res.Err != nil {
			t.Fatal(res.Err)
		}
		if err := transporttest.Check(dst, file, 0); err != nil {
			t.Fatal(err)
		}
		k.Cut()
	}
}

// TestExchangesAreBounded has more callers than the link has lanes.
func TestExchangesAreBounded(t *testing.T) {
	var conns atomic.Int32
	release := make(chan struct{})
	asked := make(chan struct{}, 64)
	s := fakePeer(t, func(c net.Conn) {
		conns.Add(1)
		var in [frame.RequestSize]byte
		if _, err := io.ReadFull(c, in[:]); err == nil {
			asked <- struct{}{}
			<-release
		}
	})
	s.Connections = 2
	l := dial(t, s)
	ended := make(chan struct{})
	for range 2 {
		go func() {
			defer func() { ended <- struct{}{} }()
			for done := false; !done; {
				l.(transport.Exchanger).Exchange(t.Context(), transport.FileRef{}, 0, make([]byte, 8))
				select {
				case <-release:
					done = true
				default:
				}
			}
		}()
	}
	eventually(t, "both connections are in use", func() bool { return len(asked) == 2 })
	for range 100 {
		if _, ok := l.(transport.Exchanger).Exchange(t.Context(), transport.FileRef{}, 0, make([]byte, 8)); ok {
			t.Fatal("answered")
		}
	}
	if idle, all := soloCount(l); idle != 0 || all != 2 || conns.Load() != 4 {
		t.Errorf("%d idle of %d; %d connections in all", idle, all, conns.Load())
	}
	close(release)
	<-ended
	<-ended
}

func TestExchangeNoAllocations(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	s := startTarget(t, source).session
	s.Connections = 1
	l := dial(t, s)
	dst := make([]byte, exchangeSize)
	exchangeOn(t.Context(), t, l, file, 0, dst)
	idle, all := soloCount(l)
	if idle != 1 || all != 1 {
		t.Fatalf("%d idle of %d", idle, all)
	}
	x := l.(transport.Exchanger)
	ctx := t.Context()
	allocs := testing.AllocsPerRun(500, func() {
		if res, ok := x.Exchange(ctx, file, 0, dst); !ok || res.Err != nil {
			t.Fatal(res, ok)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations an exchange", allocs)
	}
}
