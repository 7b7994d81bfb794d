package devmemtcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/liveness"
)

const (
	// replyBuffer is SO_SNDBUF of a data connection, at the target.
	replyBuffer = 1 << 20
	// sendBuffer is SO_SNDBUF of a head connection, on both sides: several times what
	// all its credits encode to, calls with the longest asks and answers, so that a
	// request is never waited for in Submit, nor a reply in Write.
	sendBuffer = 128 << 10
)

// tuneHead sets the options of a head connection, on both sides. What can't be
// set is left: the connection works without it.
func tuneHead(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
		_ = t.SetWriteBuffer(sendBuffer)
		liveness.Tune(t)
	}
}

// tuneData sets the options of a data connection, on the target's side.
func tuneData(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
		_ = t.SetWriteBuffer(replyBuffer)
		liveness.Tune(t)
	}
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
	d := net.Dialer{KeepAliveConfig: liveness.KeepAlive}
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
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receive.Buffer) // another one works
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
