package tcp

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/transporttest"
)

const smallSize = 4096

// soloCount returns how many solo connections are idle, how many there are, and
// what the idle ones were asked.
func soloCount(l transport.Link) (idle, all int, asked uint64) {
	xs := &l.(*link).solos
	xs.mu.Lock()
	defer xs.mu.Unlock()
	for _, x := range xs.idle {
		asked += x.gen
	}
	return len(xs.idle), len(xs.all), asked
}

// readOK reads n bytes and gives the buffer back; check may be nil.
func readOK(t testing.TB, l transport.Link, file transport.FileRef, off int64, n int) {
	t.Helper()
	b, res := l.Read(t.Context(), file, off, n)
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	defer b.Release()
	if file == (transport.FileRef{}) {
		if string(b.Bytes()) != string(make([]byte, n)) {
			t.Error("other bytes than the peer's lane sends")
		}
		return
	}
	if err := transporttest.Check(b.Bytes(), file, off); err != nil || len(b.Bytes()) != n || res.Path != uapi.PathStaged {
		t.Errorf("%d bytes: %+v, %v", n, res, err)
	}
}

// soloUp reads until the link has an idle solo connection.
func soloUp(t testing.TB, l transport.Link, file transport.FileRef) {
	t.Helper()
	eventually(t, "a solo connection is up", func() bool {
		readOK(t, l, file, 0, 8)
		idle, _, _ := soloCount(l)
		return idle > 0
	})
}

func TestSmallReads(t *testing.T) {
	for _, checksums := range []bool{false, true} {
		source := transporttest.NewSource()
		file := source.Add(1, 1<<20)
		s := startTarget(t, source).session
		s.Connections, s.Checksums = 2, checksums
		l := dial(t, s)
		soloUp(t, l, file)
		_, _, before := soloCount(l)
		for _, n := range []int{1, smallSize, soloMax, soloMax + 1} {
			readOK(t, l, file, 8191, n)
		}
		if _, _, asked := soloCount(l); asked != before+3 {
			t.Errorf("%d of 3 small reads, and 1 larger, by solo connections", asked-before)
		}
		if st := l.Stats(); st.Errors != 0 || st.InFlight != 0 {
			t.Errorf("%+v", st)
		}
	}
}

// TestSmallReadDeclined asks for what the target refuses: the error is as a
// request's, and the connection stays.
func TestSmallReadDeclined(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	s := startTarget(t, source).session
	s.Connections = 1
	l := dial(t, s)
	soloUp(t, l, file)
	before := l.Stats().Requests
	if _, res := l.Read(t.Context(), file, 1<<20, smallSize); !errors.Is(res.Err, transport.ErrRange) {
		t.Errorf("past the end: %+v", res)
	}
	if idle, all, _ := soloCount(l); idle != 1 || all != 1 {
		t.Errorf("%d of %d connections are idle", idle, all)
	}
	if st := l.Stats(); st.Requests != before+1 || st.Errors != 1 || st.InFlight != 0 {
		t.Errorf("%+v", st)
	}
}

// TestSmallReadTLS has a session whose bytes are encrypted: the kernel's socket
// can't be read by itself.
func TestSmallReadTLS(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	l := dial(t, startTLS(t, source, ALPN))
	for range 3 {
		readOK(t, l, file, 0, smallSize)
	}
	if _, all, _ := soloCount(l); all != 0 {
		t.Errorf("%d connections without TLS", all)
	}
}

// twoPeers returns a session of one connection to a peer that answers it with
// zeros; the connections after that go by the script.
func twoPeers(t testing.TB, solo func(net.Conn)) transport.Session {
	return countingPeer(t, func(n int32, c net.Conn) {
		if n > 1 {
			solo(c)
			return
		}
		answerAll(c, func(*frame.Reply, []byte) int { return -1 })
	})
}

// answerAll answers requests with zeros, of which lie may change the header and
// the payload, and say how much of that is sent; -1 for all.
func answerAll(c net.Conn, lie func(r *frame.Reply, payload []byte) int) {
	var in [frame.RequestSize]byte
	for {
		if _, err := io.ReadFull(c, in[:]); err != nil {
			return
		}
		r, _ := frame.ParseRequest(in[:])
		out := make([]byte, frame.ReplySize+r.Length)
		payload := out[frame.ReplySize:]
		h := frame.Reply{ID: r.ID, Length: r.Length, Checksum: r.Checksum}
		if r.Checksum {
			h.CRC = crc32.Checksum(payload, castagnoli)
		}
		n := lie(&h, payload)
		if n < 0 {
			n = len(payload)
		}
		h.Put(out)
		c.Write(out[:frame.ReplySize+n])
	}
}

// TestSmallReadLies has a peer lie on solo connections, each time in another way:
// it costs it the connection, and the bytes come by the lane.
func TestSmallReadLies(t *testing.T) {
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
		var asked atomic.Int32
		s := twoPeers(t, func(c net.Conn) {
			answerAll(c, func(r *frame.Reply, p []byte) int { defer asked.Add(1); return lie(r, p) })
		})
		s.Checksums = true
		l := dial(t, s)
		eventually(t, what+": asked", func() bool {
			readOK(t, l, transport.FileRef{}, 0, smallSize)
			return asked.Load() > 0
		})
		if idle, _, _ := soloCount(l); idle != 0 {
			t.Errorf("%s: the connection is used again", what)
		}
	}
}

// TestSmallReadIsNoCall: what a call is answered is no file's bytes.
func TestSmallReadIsNoCall(t *testing.T) {
	came := make([]byte, frame.ReplySize+8)
	for answer, want := range map[bool]outcome{false: answered, true: lostSolo} {
		frame.Reply{ID: 1, Length: 8, Answer: answer}.Put(came)
		if got := judge(frame.Request{ID: 1, Length: 8}, came); got != want {
			t.Errorf("answer: %t: %d, want %d", answer, got, want)
		}
	}
}

// deafPeer answers on its first connection, and takes requests of others and
// never answers. asked gets one value for each of those.
func deafPeer(t *testing.T) (s transport.Session, asked chan struct{}) {
	asked = make(chan struct{}, 16)
	return twoPeers(t, func(c net.Conn) {
		var in [frame.RequestSize]byte
		for {
			if _, err := io.ReadFull(c, in[:]); err != nil {
				return
			}
			asked <- struct{}{}
		}
	}), asked
}

// idleSolo has the link dial a solo connection without using it.
func idleSolo(t *testing.T, l transport.Link) {
	t.Helper()
	readOK(t, l, transport.FileRef{}, 0, smallSize)
	eventually(t, "a solo connection is up", func() bool { idle, _, _ := soloCount(l); return idle == 1 })
}

// TestSmallReadGivenUp ends the wait for a peer that never answers, in each way
// that there is.
func TestSmallReadGivenUp(t *testing.T) {
	t.Run("canceled", func(t *testing.T) {
		s, asked := deafPeer(t)
		l := dial(t, s)
		idleSolo(t, l)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if _, res := l.Read(ctx, transport.FileRef{}, 0, smallSize); !errors.Is(res.Err, context.Canceled) {
			t.Error(res.Err)
		}
		if _, all, _ := soloCount(l); all != 0 {
			t.Error("a connection that still owes an answer is used again")
		}
	})
	t.Run("timed out", func(t *testing.T) {
		s, _ := deafPeer(t)
		s.Timeout = 200 * time.Millisecond
		l := dial(t, s)
		idleSolo(t, l)
		if _, res := l.Read(t.Context(), transport.FileRef{}, 0, smallSize); !errors.Is(res.Err, transport.ErrStalled) {
			t.Error(res.Err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		s, asked := deafPeer(t)
		l := dial(t, s)
		idleSolo(t, l)
		ended := make(chan error)
		go func() {
			_, res := l.Read(t.Context(), transport.FileRef{}, 0, smallSize)
			ended <- res.Err
		}()
		<-asked
		l.Close()
		if err := <-ended; !errors.Is(err, transport.ErrClosed) {
			t.Errorf("the link was closed: %v", err)
		}
	})
}

// TestSmallReadsReconnect cuts all connections: the next reads fail, and then
// there are new ones.
func TestSmallReadsReconnect(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	var k transporttest.Cutter
	s := startTarget(t, source, k.Wrap).session
	s.Connections, s.Timeout = 1, time.Minute
	l := dial(t, s)
	for range 3 {
		eventually(t, "a small read by a solo connection", func() bool {
			_, _, before := soloCount(l)
			b, res := l.Read(t.Context(), file, 0, smallSize)
			if res.Err != nil {
				return false
			}
			defer b.Release()
			if err := transporttest.Check(b.Bytes(), file, 0); err != nil {
				t.Fatal(err)
			}
			_, _, asked := soloCount(l)
			return asked > before
		})
		k.Cut()
	}
}

// TestSolosAreBounded has more callers than the link has lanes: who gets no solo
// connection goes by a lane.
func TestSolosAreBounded(t *testing.T) {
	var conns atomic.Int32
	asked, release := make(chan struct{}, 64), make(chan struct{})
	s := fakePeer(t, func(c net.Conn) {
		if conns.Add(1) <= 2 {
			answerAll(c, func(*frame.Reply, []byte) int { return -1 })
			return
		}
		var in [frame.RequestSize]byte
		if _, err := io.ReadFull(c, in[:]); err == nil {
			asked <- struct{}{}
			<-release
		}
	})
	s.Connections = 2
	l := dial(t, s)
	eventually(t, "the peer knows the lanes", func() bool { return conns.Load() == 2 }) // by their order
	ended := make(chan struct{})
	for range 2 {
		go func() {
			defer func() { ended <- struct{}{} }()
			for len(asked) < 2 {
				readOK(t, l, transport.FileRef{}, 0, 8)
			}
		}()
	}
	eventually(t, "both connections are in use", func() bool { return len(asked) == 2 })
	for range 100 {
		readOK(t, l, transport.FileRef{}, 0, 8)
	}
	if idle, all, _ := soloCount(l); idle != 0 || all != 2 || conns.Load() != 4 {
		t.Errorf("%d idle of %d; %d connections in all", idle, all, conns.Load())
	}
	close(release)
	<-ended
	<-ended
}
