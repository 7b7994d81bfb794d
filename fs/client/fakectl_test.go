package client

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// fakeReply is a message that fakeCtl sends; the zero one hangs up instead.
type fakeReply struct {
	head uapi.CtlReply
	raw  []byte // sent in place of head
	tail string
	fds  []int
}

// fakeCtl is a directory that looks like a mount's root as far as the control
// socket goes.
type fakeCtl struct {
	root     string
	accepted atomic.Int64
	asked    atomic.Int64
	reply    func(uapi.CtlRequest) fakeReply

	mu   sync.Mutex
	ring *fakeReply // guarded by mu; to who asks for one; nil: there are none
}

// newFakeCtl serves until the test ends, and returns the Mount that uses it.
func newFakeCtl(t *testing.T, reply func(uapi.CtlRequest) fakeReply) (*fakeCtl, *Mount) {
	t.Helper()
	// Longer than a socket's address may be.
	root := filepath.Join(t.TempDir(), "a-directory-with-a-name-so-long-that-no-path-beneath-it-fits-into-sun_path-any-more-at-all")
	s := &fakeCtl{root: root, reply: reply}
	if err := os.MkdirAll(filepath.Join(root, ".hbmfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	l := listenAt(t, filepath.Join(root, ".hbmfs"))
	var wg sync.WaitGroup
	wg.Go(func() { s.accept(t, l, &wg) })
	m := &Mount{root: root, regions: make(map[uint32][]byte)}
	m.ctl.dial = m.dialCtl
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		t.Fatal(err)
	}
	m.dev = st.Dev
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		l.Close()
		wg.Wait()
	})
	return s, m
}

func listenAt(t *testing.T, dir string) *net.UnixListener {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	name := filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), "ctl")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	return l
}

func (s *fakeCtl) accept(t *testing.T, l *net.UnixListener, wg *sync.WaitGroup) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		s.accepted.Add(1)
		wg.Go(func() { s.serve(t, c) })
	}
}

func (s *fakeCtl) serve(t *testing.T, c *net.UnixConn) {
	defer c.Close()
	in := make([]byte, 2*uapi.CtlRequestSize)
	for {
		n, err := c.Read(in)
		if err != nil || n == 0 {
			return
		}
		s.asked.Add(1)
		r, err := s.answer(in[:n])
		if err != nil {
			t.Errorf("the client asked what the ABI refuses: %v", err)
			return
		}
		if r.raw == nil && r.head == (uapi.CtlReply{}) {
			return
		}
		if _, _, err := c.WriteMsgUnix(r.message(), unix.UnixRights(r.fds...), nil); err != nil {
			t.Error(err)
			return
		}
	}
}

func (s *fakeCtl) answer(in []byte) (fakeReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring != nil && uapi.CtlOp(in) == uapi.CtlRing {
		_, err := uapi.DecodeCtlRingRequest(in)
		return *s.ring, err
	}
	req, err := uapi.DecodeCtlRequest(in)
	if err != nil {
		return fakeReply{}, err
	}
	return s.reply(req), nil
}

func (r fakeReply) message() []byte {
	if r.raw != nil {
		return r.raw
	}
	out := make([]byte, uapi.CtlReplySize)
	uapi.EncodeCtlReply(out, &r.head)
	return append(out, r.tail...)
}

// regionReply is a correct reply to a request for a region of n bytes.
func regionReply(req uapi.CtlRequest, fd, n int) fakeReply {
	return fakeReply{head: uapi.CtlReply{Size: uint32(uapi.CtlReplySize), Length: uint64(n), Region: req.Region}, fds: []int{fd}}
}
