package devmemtcp

import (
	"hash/crc32"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/lanes"
)

// pagesSocket brings payload page by page, for ever, as a NIC at its best does.
type pagesSocket struct {
	token uint32
	freed int
}

const pagesSocketPool = 4 << 20

func (s *pagesSocket) Receive(host, control []byte) (n, controls int, err error) {
	for n < len(host) && controls+controlSize <= len(control) {
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

func (s *pagesSocket) DontNeed(ranges []tokenRange) (freed int, err error) {
	for _, r := range ranges {
		freed += int(r.count)
	}
	s.freed += freed
	return freed, nil
}

func (s *pagesSocket) Await(int) error      { return nil }
func (s *pagesSocket) Hurry()               {}
func (s *pagesSocket) Unread() (int, error) { return 0, nil }
func (s *pagesSocket) Shutdown()            {}
func (s *pagesSocket) Close() error         { return nil }

// TestHotPathAllocatesNothing takes requests, their headers and their payload
// through a pair.
func TestHotPathAllocatesNothing(t *testing.T) {
	pool := &loopPool{HostMemory: make(transport.HostMemory, pagesSocketPool)}
	rx := &receiver{pool: pool, binding: loopBound{pool: pool}}
	l := &link{owner: &devmem{rx: rx}}
	l.Init(lanes.Config{Name: Name, Session: transport.Session{Checksums: true}, MaxLen: MaxLen})
	head, peer := net.Pipe()
	defer peer.Close()
	data := &pagesSocket{}
	c := newConn(l, rx, head, data, nil)
	defer func() {
		c.Retire(transport.ErrClosed)
		l.Close()
	}()
	dst := make(transport.HostMemory, extent)
	done := 0
	r := &transport.Request{Dst: transport.Span{Mem: dst, Len: extent}, Done: func(r transport.Result) {
		if r.Err != nil {
			t.Error(r.Err)
		}
		done++
	}}
	crc := crc32.Checksum(make([]byte, extent), castagnoli)
	fetch := func() {
		if a := c.Add(r); a != lanes.Added {
			t.Fatal(a)
		}
		req, err := frame.ParseRequest(c.pending)
		if err != nil {
			t.Fatal(err)
		}
		c.pending = c.pending[:0]
		frame.Reply{ID: req.ID, Length: extent, CRC: crc, Checksum: true}.Put(c.in)
		c.r, c.w = 0, frame.ReplySize
		if err := c.answer(); err != nil {
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

// TestKernelSocketAllocatesNothing receives over an ordinary connection: what
// comes is host bytes then.
func TestKernelSocketAllocatesNothing(t *testing.T) {
	client, server := tcpPair(t)
	s, err := newKernelSocket(client)
	if err != nil {
		t.Fatal(err)
	}
	host, control, b := make([]byte, 100), make([]byte, 4*controlSize), []byte("x")
	if n, err := s.Unread(); n != 0 || err != nil {
		t.Errorf("unread: %d, %v", n, err)
	}
	if n := testing.AllocsPerRun(100, func() {
		server.Write(b)
		n, controls, err := s.Receive(host, control)
		if n != 1 || controls != 0 || err != nil || host[0] != 'x' {
			t.Error(n, controls, err)
		}
		if n, err := s.Unread(); n != 0 || err != nil {
			t.Errorf("unread: %d, %v", n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	time.AfterFunc(10*time.Millisecond, s.Shutdown)
	if n, _, err := s.Receive(host, control); n != 0 || err != nil {
		t.Errorf("after shutdown: %d, %v", n, err)
	}
	s.Close()
	if _, _, err := s.Receive(host, control); err == nil {
		t.Error("received after Close")
	}
}

func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c.(*net.TCPConn), s.(*net.TCPConn)
}
