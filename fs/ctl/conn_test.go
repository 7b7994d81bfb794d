package ctl

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
)

// keptOp is the op of a request that keeps something; it answers with two descriptors.
const keptOp = 99

// kept is what a connection keeps.
type kept struct{ closed chan struct{} }

func (k *kept) Close() { close(k.closed) }

// served is a connection that a server serves, and the client's end of it.
type served struct {
	t      *testing.T
	server *Server
	client *net.UnixConn
	keeps  chan *kept // what is kept
	conns  chan *Conn
}

func serveOne(t *testing.T) *served {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, keeps: make(chan *kept, 8), conns: make(chan *Conn, 8)}
	log := slog.New(slog.DiscardHandler)
	limited := logging.NewLimiter(log)
	t.Cleanup(limited.Close)
	s.server = &Server{conns: make(map[*Conn]*limits.Share), cfg: Config{
		Ops: map[uint32]Op{keptOp: s.answer}, Clients: limits.New(limits.Config{What: "clients", All: 8}), Log: log, Limited: limited,
		Stats: func() any { return "stats" },
	}}
	s.client = connOf(t, fds[0])
	s.server.admit(connOf(t, fds[1]))
	t.Cleanup(func() {
		s.client.Close()
		s.server.wg.Wait()
		if n := s.server.cfg.Clients.Used(); n != 0 {
			t.Errorf("%d clients are counted after the end", n)
		}
	})
	return s
}

func connOf(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

func (s *served) answer(c *Conn, r *Request) Reply {
	fd, err := r.Take()
	if err != nil {
		return Fail(err)
	}
	k := &kept{make(chan struct{})}
	if !c.Keep(k) {
		return Fail(syscall.EIO)
	}
	s.keeps <- k
	s.conns <- c
	other, err := unix.Dup(fd)
	if err != nil {
		return Fail(err)
	}
	return Reply{FDs: []int{fd, other}}
}

// ask sends a request with descriptors, and returns the reply with how many came.
func (s *served) ask(op uint32, fds ...int) (uapi.CtlReply, int) {
	s.t.Helper()
	out := make([]byte, uapi.CtlRequestSize)
	uapi.EncodeCtlRequest(out, &uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: op})
	if _, _, err := s.client.WriteMsgUnix(out, unix.UnixRights(fds...), nil); err != nil {
		s.t.Fatal(err)
	}
	in, oob := make([]byte, uapi.CtlMax), make([]byte, 256)
	n, rights, _, _, err := s.client.ReadMsgUnix(in, oob)
	if err != nil {
		s.t.Fatal(err)
	}
	got := rightsIn(oob[:rights])
	for _, fd := range got {
		unix.Close(fd)
	}
	r, _, err := uapi.DecodeCtlReply(in[:n])
	if err != nil {
		s.t.Fatal(err)
	}
	return r, len(got)
}

// TestRefused: who is refused is told why, unasked.
func TestRefused(t *testing.T) {
	s := serveOne(t)
	refused := func(want syscall.Errno) {
		t.Helper()
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		client := connOf(t, fds[0])
		defer client.Close()
		s.server.admit(connOf(t, fds[1]))
		in := make([]byte, uapi.CtlMax)
		n, err := client.Read(in)
		if err != nil {
			t.Fatal(err)
		}
		if r, _, err := uapi.DecodeCtlReply(in[:n]); err != nil || syscall.Errno(r.Error) != want {
			t.Errorf("%+v, %v, want %v", r, err, want)
		}
		if n, err := client.Read(in); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("and then %d bytes, %v", n, err)
		}
	}
	all, err := s.server.cfg.Clients.Take("uid 5", 7)
	if err != nil {
		t.Fatal(err)
	}
	refused(syscall.EMFILE)
	all.Leave()
	s.server.mu.Lock()
	s.server.closed = true
	s.server.mu.Unlock()
	refused(syscall.ENOTCONN)
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestDescriptors: one may come with a request that takes one, and all are closed.
func TestDescriptors(t *testing.T) {
	s := serveOne(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := int(null.Fd())
	before := openDescriptors(t)
	const invalid = int32(syscall.EINVAL)
	for what, c := range map[string]struct {
		op   uint32
		fds  []int
		want int32
		got  int
	}{
		"taken":             {keptOp, []int{fd}, 0, 2},
		"none":              {keptOp, nil, invalid, 0},
		"two":               {keptOp, []int{fd, fd}, invalid, 0},
		"many":              {keptOp, []int{fd, fd, fd, fd, fd, fd, fd}, invalid, 0},
		"not taken":         {uapi.CtlStats, []int{fd}, invalid, 0},
		"an op that is not": {7777, []int{fd}, int32(syscall.ENOTTY), 0},
		"no descriptor":     {uapi.CtlStats, nil, 0, 0},
	} {
		if r, n := s.ask(c.op, c.fds...); r.Error != c.want || n != c.got {
			t.Errorf("%s: %+v, and %d descriptors", what, r, n)
		}
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors, were %d", after, before)
	}
}

// TestKept: what a connection keeps is closed once, when it ends, unless it was dropped.
func TestKept(t *testing.T) {
	s := serveOne(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for range 2 {
		if r, _ := s.ask(keptOp, int(null.Fd())); r.Error != 0 {
			t.Fatalf("%+v", r)
		}
	}
	first, second, c := <-s.keeps, <-s.keeps, <-s.conns
	if !c.Drop(first) || c.Drop(first) {
		t.Error("not dropped once")
	}
	s.client.Close()
	select {
	case <-second.closed:
	case <-time.After(10 * time.Second):
		t.Fatal("what is kept is not closed")
	}
	s.server.wg.Wait()
	select {
	case <-first.closed:
		t.Error("what was dropped is closed")
	default:
	}
	if c.Keep(first) {
		t.Error("a connection that has ended keeps something")
	}
}
