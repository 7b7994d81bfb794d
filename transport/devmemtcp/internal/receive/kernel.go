package receive

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KernelSocket is the [Socket] of the kernel's device memory TCP.
type KernelSocket struct {
	conn *net.TCPConn
	rc   syscall.RawConn
	fd   int // valid until Close

	// What a Receive is about; it runs on one goroutine at a time.
	read func(fd uintptr) bool
	msg  unix.Msghdr
	iov  unix.Iovec
	n    uintptr
	err  unix.Errno

	// What an Await is about; likewise, but for lowat.
	ready func(fd uintptr) bool
	lowat atomic.Int32 // SO_RCVLOWAT, 0 if not set yet
	poll  [1]unix.PollFd

	// What an Unread is about; likewise.
	count     func(fd uintptr)
	unread    int
	unreadErr error
}

// NewKernelSocket returns the socket of c, which it closes.
func NewKernelSocket(c *net.TCPConn) (*KernelSocket, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &KernelSocket{conn: c, rc: rc}
	s.read, s.ready, s.count = s.receive, s.readable, s.ask
	return s, rc.Control(func(fd uintptr) { s.fd = int(fd) })
}

func (s *KernelSocket) Receive(host, control []byte) (n, controls int, err error) {
	s.iov.Base = unsafe.SliceData(host)
	s.iov.SetLen(len(host))
	s.msg = unix.Msghdr{Iov: &s.iov, Control: unsafe.SliceData(control)}
	s.msg.SetIovlen(1)
	s.msg.SetControllen(len(control))
	if err := s.rc.Read(s.read); err != nil {
		return 0, 0, err
	}
	switch {
	case s.err != 0:
		return 0, 0, os.NewSyscallError("recvmsg MSG_SOCK_DEVMEM", s.err)
	case s.msg.Flags&unix.MSG_CTRUNC != 0:
		return 0, 0, errCut
	}
	return int(s.n), int(s.msg.Controllen), nil
}

// receive reports whether there is no need to wait.
func (s *KernelSocket) receive(fd uintptr) bool {
	for {
		s.n, _, s.err = unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&s.msg)), unix.MSG_SOCK_DEVMEM|unix.MSG_DONTWAIT)
		if s.err != unix.EINTR {
			return s.err != unix.EAGAIN
		}
	}
}

// Await has the kernel wake the reader for n bytes, not for each packet.
func (s *KernelSocket) Await(n int) error {
	if s.lowat.Load() != int32(n) {
		s.setLowat(n)
	}
	return s.rc.Read(s.ready)
}

func (s *KernelSocket) Hurry() { s.setLowat(1) }

// setLowat also wakes who waits, if there are as many bytes (tcp_set_rcvlowat).
func (s *KernelSocket) setLowat(n int) {
	s.lowat.Store(int32(n))
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) // another one works
	runtime.KeepAlive(s.conn)
}

// readable reports whether there is no need to wait: poll goes by SO_RCVLOWAT,
// and also knows the stream's end, and a window that is full.
func (s *KernelSocket) readable(fd uintptr) bool {
	for {
		s.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
		n, err := unix.Poll(s.poll[:], 0)
		if err != unix.EINTR {
			return n != 0 || err != nil
		}
	}
}

func (s *KernelSocket) DontNeed(ranges []TokenRange) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_DEVMEM_DONTNEED,
		uintptr(unsafe.Pointer(unsafe.SliceData(ranges))), uintptr(len(ranges))*unsafe.Sizeof(TokenRange{}), 0)
	runtime.KeepAlive(s.conn)
	if errno != 0 {
		return 0, os.NewSyscallError("setsockopt SO_DEVMEM_DONTNEED", errno)
	}
	return int(n), nil
}

func (s *KernelSocket) Unread() (int, error) {
	err := s.rc.Control(s.count)
	return s.unread, errors.Join(err, os.NewSyscallError("ioctl SIOCINQ", s.unreadErr))
}

func (s *KernelSocket) ask(fd uintptr) {
	s.unread, s.unreadErr = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
}

func (s *KernelSocket) Shutdown() {
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // fails once the peer has gone; then Receive has returned
	runtime.KeepAlive(s.conn)
}

func (s *KernelSocket) Close() error { return s.conn.Close() }
