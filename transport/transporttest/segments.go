package transporttest

import (
	"net"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Segments counts what arrives on TCP connections over loopback, where a message is
// one segment up to nearly 64 KiB.
type Segments struct {
	mu    sync.Mutex // guards conns
	conns []syscall.Conn
}

// Wrap returns c, a TCP connection, which is counted.
func (s *Segments) Wrap(c net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c.(syscall.Conn))
	return c
}

// Count is how many segments with data arrived on connections that are still open.
func (s *Segments) Count(t testing.TB) (n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var info *unix.TCPInfo
		if raw.Control(func(fd uintptr) {
			info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		}) != nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n += int(info.Data_segs_in)
	}
	return n
}
