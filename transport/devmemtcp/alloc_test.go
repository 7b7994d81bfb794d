package devmemtcp

import (
	"hash/crc32"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/transporttest"
)

// pagesSocket brings payload page by page, for ever, as a NIC at its best does.
type pagesSocket struct {
	token uint32
	freed int
	ended bool
}

const pagesSocketPool = 4 << 20

func (s *pagesSocket) Receive(host, control []byte) (n, controls int, err error) {
	for !s.ended && n < len(host) && controls+controlSize <= len(control) {
		size := min(loopPage, len(host)-n)
		s.token++
		off := uint64(s.token%(pagesSocketPool/loopPage)) * loopPage
		putControl(control[controls:], unix.SOL_SOCKET, unix.SCM_DEVMEM_DMABUF,
			pageAt(off, uint32(size), s.token))
		n, controls = n+size, controls+controlSize
	}
	return n, controls, nil
}

func pageAt(off uint64, size, token uint32) control {
	return control{off: off, size: size, token: token, id: loopBinding}
}

func (s *pagesSocket) DontNeed(ranges []receive.TokenRange) (freed int, err error) {
	for _, r := range ranges {
		freed += int(r.Count)
	}
	s.freed += freed
	return freed, nil
}

func (s *pagesSocket) Await(int) error      { return nil }
func (s *pagesSocket) Hurry()               {}
func (s *pagesSocket) Unread() (int, error) { return 0, nil }
func (s *pagesSocket) Shutdown()            { s.ended = true }
func (s *pagesSocket) Close() error         { return nil }

// testPair is one of a link without a target.
func testPair(l *link, rx *receiver, head net.Conn, data receive.Socket) *receive.Pair {
	return receive.New(receive.Config{
		Session: l.Session, Queue: rx.nextQueue(), Head: head, Data: data,
		Messages: fragmentsPerGather, Counters: &l.counters, Held: &l.tokens,
	})
}

// TestHotPathAllocatesNothing takes requests, their headers and their payload
// through a pair.
func TestHotPathAllocatesNothing(t *testing.T) {
	pool := &loopPool{Mapped: make(transporttest.Mapped, pagesSocketPool)}
	rx := &receiver{pool: pool, binding: loopBound{pool: pool}, queues: []int{1}}
	l := &link{owner: &devmem{rx: rx}}
	l.Init(lanes.Config{Name: Name, Session: transport.Session{Checksums: true}, Plan: plan})
	head, peer := net.Pipe()
	defer peer.Close()
	data := &pagesSocket{}
	c := newConn(l, rx, testPair(l, rx, head, data))
	defer func() {
		c.End(transport.ErrClosed)
		l.Close()
	}()
	dst := transporttest.NewMapped(extent)
	done := 0
	r := &transport.Request{Dst: transport.Span{Mem: dst, Len: extent}, To: transporttest.Done(func(r transport.Result) {
		if r.Err != nil {
			t.Error(r.Err)
		}
		done++
	})}
	crc := crc32.Checksum(make([]byte, extent), crc32.MakeTable(crc32.Castagnoli))
	fetch := func() {
		if a := c.Add(landing.Request{Request: r}); a != lanes.Added {
			t.Fatal(a)
		}
		req, err := frame.ParseRequest(c.out[0].Bytes)
		if err != nil {
			t.Fatal(err)
		}
		c.out[0].Reset()
		c.out[0].first = false
		if err := c.answer(frame.Reply{ID: req.ID, Length: extent, CRC: crc, Checksum: true}); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, fetch); n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
	s := l.Stats().Devmem
	t.Logf("for each MiB %.1f recvmsg, %.1f setsockopt", float64(s.Recvmsgs)/float64(done), float64(s.TokenCalls)/float64(done))
	if s.Tokens != 0 || s.Fragments != int64(data.freed) || s.DeviceBytes != int64(done)*extent {
		t.Errorf("%+v, %d freed", s, data.freed)
	}
	if s.Recvmsgs > 4*int64(done) || s.TokenCalls > 4*int64(done) {
		t.Errorf("too many system calls: %+v for %d", s, done)
	}
}
