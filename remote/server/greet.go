package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"

	"hbmfs/transport"
	"hbmfs/transport/logging"
)

const (
	// greetTimeout bounds the time until a connection has said what it is.
	greetTimeout = 5 * time.Second
	// alpnControl is what gRPC negotiates.
	alpnControl = "h2"
)

// controlGreeting is what HTTP/2 begins with, and so gRPC.
func (t *Server) controlGreeting() transport.Greeting {
	return transport.Greeting{Magic: [4]byte{'P', 'R', 'I', ' '}, ALPN: alpnControl, Serve: t.handControl}
}

// greet finds out what conn carries and hands it on. It calls known, more than
// once maybe, as soon as it is a control connection, or who sent it has proved
// that he belongs to a session.
func (t *Server) greet(ctx context.Context, conn net.Conn, known func()) {
	defer known()
	conn, what, err := t.identify(ctx, conn)
	if err != nil {
		t.log.Warn("connection refused", logging.Host(conn.RemoteAddr().String()), "peer", conn.RemoteAddr(), "err", err)
		conn.Close()
		return
	}
	what.Serve(ctx, conn, known)
}

// handControl has calls on conn answered. Where its client has as many as may be,
// it stays unknown, and is told why for as long as such may stay.
func (t *Server) handControl(ctx context.Context, conn net.Conn, known func()) {
	c := &controlConn{Conn: conn, info: controlInfo{client: clientOf(conn)}}
	c.share, c.info.refused = t.bounds.control.Take(c.info.client, 1)
	if _, secure := conn.(*tls.Conn); secure {
		c.info.SecurityLevel = credentials.PrivacyAndIntegrity
	}
	t.remote.hand(c)
	if c.info.refused == nil {
		known()
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(greetTimeout):
	}
	conn.Close()
}

// identify returns the connection to go on with, and what it carries. With TLS,
// only those go without that never use it.
func (t *Server) identify(ctx context.Context, conn net.Conn) (net.Conn, *transport.Greeting, error) {
	deadline := time.Now().Add(greetTimeout)
	if t.mayClear() == nil {
		first, err := peek(ctx, conn, deadline)
		if err != nil {
			return conn, nil, err
		}
		g := t.greeting(func(g transport.Greeting) bool {
			return g.Magic == first && (t.cfg.TLS == nil || g.ALPN == "")
		})
		switch {
		case g != nil:
			return conn, g, nil
		case t.cfg.TLS == nil:
			return conn, nil, strangerError(first)
		}
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	secure := tls.Server(conn, t.cfg.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		if clear, ok := errors.AsType[tls.RecordHeaderError](err); ok && clear.Conn != nil {
			_, _ = conn.Write(unexpectedMessage) // or it would not learn why
			err = fmt.Errorf("it does not use TLS, as this target does: %w", err)
		}
		return conn, nil, err
	}
	proto := secure.ConnectionState().NegotiatedProtocol
	g := t.greeting(func(g transport.Greeting) bool { return g.ALPN != "" && g.ALPN == proto })
	if g == nil {
		return secure, nil, fmt.Errorf("TLS without a protocol that the target speaks: %q", proto)
	}
	return secure, g, nil
}

// unexpectedMessage is that alert of TLS, fatal, as RFC 8446 asks for where what
// comes is not TLS. Package tls sends none.
var unexpectedMessage = []byte{21, 3, 3, 0, 2, 2, 10}

// strangerError says what sent the first bytes, to a target without TLS.
func strangerError(first [4]byte) error {
	if first[0] == 22 && first[1] == 3 { // a TLS handshake, of any version
		return errors.New("it uses TLS, and this target does not")
	}
	return fmt.Errorf("it is no mount: it began with %q", first)
}

// peek returns what conn starts with, and leaves it unread: a data connection
// stays the socket that it is.
func peek(ctx context.Context, conn net.Conn, deadline time.Time) (first [4]byte, err error) {
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
