package devmemtcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is SO_RCVBUFFORCE of a data connection, in bytes: what may
	// lie in the pool without having been asked for by recvmsg. The kernel
	// doubles it for its own overhead. Four connections carry 10 GB/s over a
	// round trip of 200 us with it. Who may not exceed net.core.rmem_max is
	// better off with the kernel's own tuning.
	receiveBuffer = 1 << 20
	// replyBuffer is SO_SNDBUF of a data connection, at the target.
	replyBuffer = 1 << 20
	// sendBuffer is SO_SNDBUF of a head connection: several times what all its
	// credits encode to, so that a request is never waited for in Submit.
	sendBuffer = 64 << 10
	// userTimeout is how long sent data may stay unacknowledged, or a closed
	// window shut, before the kernel ends the connection.
	userTimeout = 30 * time.Second
)

// keepAlive finds out about hosts that are gone within half a minute.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// tuneHead sets the options of a head connection, on both sides. What can't be
// set is left: the connection works without it.
func tuneHead(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
		_ = t.SetWriteBuffer(sendBuffer)
		tuneBoth(t)
	}
}

// tuneData sets the options of a data connection, on the target's side.
func tuneData(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
		_ = t.SetWriteBuffer(replyBuffer)
		tuneBoth(t)
	}
}

func tuneBoth(t *net.TCPConn) {
	_ = t.SetKeepAliveConfig(keepAlive)
	rc, err := t.SyscallConn()
	if err != nil {
		return
	}
	rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
}

// pageSegment is the largest segment for which payload fills whole pages where
// packets may have mtu bytes: a NIC then needs fewer of them, and there are fewer
// fragments to gather. It is 0 if none fits.
func pageSegment(mtu int, v6 bool) int {
	const ip4, ip6, tcp, timestamps = 20, 40, 20, 12
	room := mtu - ip4 - tcp - timestamps
	if v6 {
		room -= ip6 - ip4
	}
	pages := room / os.Getpagesize() * os.Getpagesize()
	if pages <= 0 {
		return 0
	}
	return pages + timestamps
}

// dialData connects from local's address to remote. Between binding the socket
// to a port and connecting it calls steer, so that not one packet comes by
// another way. segment is the largest to ask the peer for, if not 0.
func dialData(ctx context.Context, local netip.Addr, remote netip.AddrPort, segment int, steer func(local netip.AddrPort) error) (*net.TCPConn, error) {
	network := "tcp6"
	if remote.Addr().Is4() {
		network = "tcp4"
	}
	d := net.Dialer{KeepAliveConfig: keepAlive}
	d.SetMultipathTCP(false)
	d.Control = func(_, _ string, rc syscall.RawConn) (err error) {
		var bound netip.AddrPort
		cerr := rc.Control(func(fd uintptr) { bound, err = bind(int(fd), local, segment) })
		if err = errors.Join(cerr, err); err != nil {
			return err
		}
		return steer(bound)
	}
	c, err := d.DialContext(ctx, network, remote.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// bind takes a free port at addr, and sets what must be set before connecting:
// the window's scale depends on the buffer.
func bind(fd int, addr netip.Addr, segment int) (netip.AddrPort, error) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) // another one works
	if segment > 0 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, segment) // another one works
	}
	if err := unix.Bind(fd, socketAddress(addr)); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("bind "+addr.String(), err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(addr, uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(addr, uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, os.NewSyscallError("getsockname", unix.EAFNOSUPPORT)
}

// socketAddress is addr, at any port.
func socketAddress(addr netip.Addr) unix.Sockaddr {
	if addr.Is4() {
		return &unix.SockaddrInet4{Addr: addr.As4()}
	}
	return &unix.SockaddrInet6{Addr: addr.As16(), ZoneId: zone(addr)}
}

// zone is the index of the interface that addr names; 0 if it names none.
func zone(addr netip.Addr) uint32 {
	if i, err := net.InterfaceByName(addr.Zone()); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(addr.Zone(), 10, 32)
	return uint32(n)
}

// kernelSocket is the socket of the kernel's device memory TCP.
type kernelSocket struct {
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

func newKernelSocket(c *net.TCPConn) (*kernelSocket, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &kernelSocket{conn: c, rc: rc}
	s.read, s.ready, s.count = s.receive, s.readable, s.ask
	return s, rc.Control(func(fd uintptr) { s.fd = int(fd) })
}

func (s *kernelSocket) Receive(host, control []byte) (n, controls int, err error) {
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
func (s *kernelSocket) receive(fd uintptr) bool {
	for {
		s.n, _, s.err = unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&s.msg)), unix.MSG_SOCK_DEVMEM|unix.MSG_DONTWAIT)
		if s.err != unix.EINTR {
			return s.err != unix.EAGAIN
		}
	}
}

// Await has the kernel wake the reader for n bytes, not for each packet.
func (s *kernelSocket) Await(n int) error {
	if s.lowat.Load() != int32(n) {
		s.setLowat(n)
	}
	return s.rc.Read(s.ready)
}

func (s *kernelSocket) Hurry() { s.setLowat(1) }

// setLowat also wakes who waits, if there are as many bytes (tcp_set_rcvlowat).
func (s *kernelSocket) setLowat(n int) {
	s.lowat.Store(int32(n))
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) // another one works
	runtime.KeepAlive(s.conn)
}

// readable reports whether there is no need to wait: poll goes by SO_RCVLOWAT,
// and also knows the stream's end, and a window that is full.
func (s *kernelSocket) readable(fd uintptr) bool {
	for {
		s.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
		n, err := unix.Poll(s.poll[:], 0)
		if err != unix.EINTR {
			return n != 0 || err != nil
		}
	}
}

func (s *kernelSocket) DontNeed(ranges []tokenRange) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_DEVMEM_DONTNEED,
		uintptr(unsafe.Pointer(unsafe.SliceData(ranges))), uintptr(len(ranges))*unsafe.Sizeof(tokenRange{}), 0)
	runtime.KeepAlive(s.conn)
	if errno != 0 {
		return 0, os.NewSyscallError("setsockopt SO_DEVMEM_DONTNEED", errno)
	}
	return int(n), nil
}

func (s *kernelSocket) Unread() (int, error) {
	err := s.rc.Control(s.count)
	return s.unread, errors.Join(err, os.NewSyscallError("ioctl SIOCINQ", s.unreadErr))
}

func (s *kernelSocket) ask(fd uintptr) {
	s.unread, s.unreadErr = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
}

func (s *kernelSocket) Shutdown() {
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // fails once the peer has gone; then Receive has returned
	runtime.KeepAlive(s.conn)
}

func (s *kernelSocket) Close() error { return s.conn.Close() }
