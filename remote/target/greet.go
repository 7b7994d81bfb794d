package target

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/transport/tcp"
)

const (
	// greetTimeout bounds the time until a connection has said what it is.
	greetTimeout = 5 * time.Second
	// alpnControl is what gRPC negotiates.
	alpnControl = "h2"
)

// greet finds out what conn carries and hands it on. It calls identified in
// between.
func (t *Target) greet(ctx context.Context, conn net.Conn, identified func()) {
	conn, data, err := t.identify(ctx, conn)
	identified()
	if err != nil {
		t.cfg.Log.Debug("connection refused", "peer", conn.RemoteAddr(), "err", err)
		conn.Close()
		return
	}
	if data {
		t.data.ServeConn(ctx, conn)
		return
	}
	t.remote.hand(conn)
}

// identify returns the connection to go on with, and whether it is a data
// connection.
func (t *Target) identify(ctx context.Context, conn net.Conn) (net.Conn, bool, error) {
	deadline := time.Now().Add(greetTimeout)
	if t.cfg.TLS == nil {
		data, err := peekMagic(ctx, conn, deadline)
		return conn, data, err
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	secure := tls.Server(conn, t.cfg.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return conn, false, err
	}
	switch proto := secure.ConnectionState().NegotiatedProtocol; proto {
	case alpnControl:
		return secure, false, nil
	case tcp.ALPN:
		return secure, true, nil
	default:
		return secure, false, fmt.Errorf("TLS without a protocol that the target speaks: %q", proto)
	}
}

// peekMagic reports whether conn starts with [tcp.Magic], and leaves it unread:
// a data connection stays the socket that it is.
func peekMagic(ctx context.Context, conn net.Conn, deadline time.Time) (bool, error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false, fmt.Errorf("a %T is not a socket", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false, err
	}
	conn.SetReadDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	var head [len(tcp.Magic)]byte
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		n, _, peekErr = unix.Recvfrom(int(fd), head[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return n == 0 || n == len(head) || peekErr != nil && peekErr != unix.EAGAIN
	})
	if !stop() {
		return false, ctx.Err()
	}
	conn.SetReadDeadline(time.Time{})
	if err = errors.Join(err, peekErr); err == nil && n < len(head) {
		err = errors.New("closed before it said what it is")
	}
	return head == tcp.Magic, err
}
