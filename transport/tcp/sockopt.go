package tcp

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"hbmfs/transport/internal/liveness"

	"golang.org/x/sys/unix"
)

const (
	// sendBuffer is the client's, in bytes: several times what all its credits
	// encode to, calls with the longest asks, so that a request is never waited for in Submit.
	sendBuffer = 256 << 10
	// replyBuffer is the server's, in bytes. The kernel's own tuning grows it to
	// megabytes, and then what is sent has left the CPU's cache before it is
	// received: a quarter less throughput over loopback. Four connections carry
	// 10 GB/s over a round trip of 200 us with it.
	replyBuffer = 512 << 10
)

// raw returns the connection under a TLS connection, or c itself.
func raw(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

// tune sets the options of the client's side. What can't be set is left: the
// connection works without it.
func tune(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(sendBuffer)
		liveness.Tune(t)
	}
}

// tuneServer sets the options of the server's side.
func tuneServer(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
		_ = t.SetWriteBuffer(replyBuffer)
		liveness.Tune(t)
	}
}

// blocking returns the socket of c as a file whose reads block their thread, for
// tick at a time: then they fail with EAGAIN. c itself can't be used any more,
// and is still to be closed.
func blocking(c net.Conn, tick time.Duration) (*os.File, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	cerr := rc.Control(func(old uintptr) {
		fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(cerr, err); err != nil {
		return nil, err
	}
	wait := unix.NsecToTimeval(tick.Nanoseconds())
	err = errors.Join(unix.SetNonblock(fd, false), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}
