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

	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/tcp"
)

const (
	// greetTimeout bounds the time until a connection has said what it is.
	greetTimeout = 5 * time.Second
	// alpnControl is what gRPC negotiates.
	alpnControl = "h2"
)

// kind is what a connection carries.
type kind int

const (
	carriesControl kind = iota
	carriesTCP
	carriesHead
	carriesPayload
)

// greeting is what a client of a data plane sends first.
type greeting [4]byte

var kinds = map[greeting]kind{
	tcp.Magic:           carriesTCP,
	devmemtcp.HeadMagic: carriesHead,
	devmemtcp.DataMagic: carriesPayload,
}

// greet finds out what conn carries and hands it on. It calls known, more than
// once maybe, as soon as it is a control connection, or who sent it has proved
// that he belongs to a session.
func (t *Target) greet(ctx context.Context, conn net.Conn, known func()) {
	defer known()
	conn, what, err := t.identify(ctx, conn)
	if err != nil {
		t.cfg.Log.Debug("connection refused", "peer", conn.RemoteAddr(), "err", err)
		conn.Close()
		return
	}
	switch what {
	case carriesControl:
		known()
		t.remote.hand(conn)
	case carriesTCP:
		t.data.ServeConn(ctx, conn, known)
	case carriesHead:
		t.devmem.ServeHead(ctx, conn, known)
	case carriesPayload:
		t.devmem.ServeData(ctx, conn, known)
	}
}

// identify returns the connection to go on with, and what it carries. With TLS,
// only the data planes that can't encrypt go without, and only if they may.
func (t *Target) identify(ctx context.Context, conn net.Conn) (net.Conn, kind, error) {
	deadline := time.Now().Add(greetTimeout)
	if t.cfg.TLS == nil || t.cfg.DataPlaintext {
		first, err := peek(ctx, conn, deadline)
		what := kinds[first]
		if err != nil || t.cfg.TLS == nil || what == carriesHead || what == carriesPayload {
			return conn, what, err
		}
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	secure := tls.Server(conn, t.cfg.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return conn, carriesControl, err
	}
	switch proto := secure.ConnectionState().NegotiatedProtocol; proto {
	case alpnControl:
		return secure, carriesControl, nil
	case tcp.ALPN:
		return secure, carriesTCP, nil
	default:
		return secure, carriesControl, fmt.Errorf("TLS without a protocol that the target speaks: %q", proto)
	}
}

// peek returns what conn starts with, and leaves it unread: a data connection
// stays the socket that it is.
func peek(ctx context.Context, conn net.Conn, deadline time.Time) (first greeting, err error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return first, fmt.Errorf("a %T is not a socket", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return first, err
	}
	conn.SetReadDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		n, _, peekErr = unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return n == 0 || n == len(first) || peekErr != nil && peekErr != unix.EAGAIN
	})
	if !stop() {
		return first, ctx.Err()
	}
	conn.SetReadDeadline(time.Time{})
	if err = errors.Join(err, peekErr); err == nil && n < len(first) {
		err = errors.New("closed before it said what it is")
	}
	return first, err
}
