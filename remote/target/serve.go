package target

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"

	"hbmfs/transport/tcp"
)

const (
	// greetTimeout bounds the time until a connection has said what it is.
	greetTimeout = 5 * time.Second
	// maxGreeting bounds how many connections have not said it yet.
	maxGreeting = 256
	// alpnControl is what gRPC negotiates.
	alpnControl = "h2"
)

// Serve serves control and data connections from l, which it closes, until ctx
// ends or the target is closed; then it returns nil. Control connections stay
// until Close.
//
// Without TLS and without Config.Insecure it refuses to listen on anything but
// loopback.
func (t *Target) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if err := t.checkListener(l.Addr()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var greeting sync.WaitGroup
	defer greeting.Wait()
	defer cancel() // before the wait
	greeting.Go(func() {
		select {
		case <-ctx.Done():
		case <-t.quit:
			cancel()
		}
		l.Close()
	})
	slots := make(chan struct{}, maxGreeting)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			if isTemporary(err) {
				t.cfg.Log.Warn("accept failed", "err", err)
				pause(ctx, acceptPause)
				continue
			}
			return fmt.Errorf("accepting connections: %w", err)
		}
		slots <- struct{}{}
		greeting.Go(func() { t.greet(ctx, conn, sync.OnceFunc(func() { <-slots })) })
	}
}

// acceptPause is how long to leave a process alone that is out of descriptors.
const acceptPause = 50 * time.Millisecond

func isTemporary(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (t *Target) checkListener(addr net.Addr) error {
	tcpAddr, ok := addr.(*net.TCPAddr)
	if t.cfg.TLS != nil || t.cfg.Insecure || !ok || tcpAddr.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("refusing to listen on %s without TLS: whoever can reach it could read the exports. Give --tls-cert, --tls-key and --tls-ca, or --insecure if the network is trusted", addr)
}

// greet finds out what conn carries and hands it on. identified is called as
// soon as that is known.
func (t *Target) greet(ctx context.Context, conn net.Conn, identified func()) {
	defer identified()
	conn, data, err := t.identify(ctx, conn)
	if err != nil {
		t.cfg.Log.Debug("connection refused", "peer", conn.RemoteAddr(), "err", err)
		conn.Close()
		return
	}
	identified()
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

// connListener is a [net.Listener] of connections that were accepted already.
type connListener struct {
	conns chan net.Conn
	quit  chan struct{}
	once  sync.Once
}

func newConnListener() *connListener {
	return &connListener{conns: make(chan net.Conn), quit: make(chan struct{})}
}

func (l *connListener) hand(conn net.Conn) {
	select {
	case l.conns <- conn:
	case <-l.quit:
		conn.Close()
	}
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.once.Do(func() { close(l.quit) })
	return nil
}

// Addr is not that of a socket: the connections come from several.
func (l *connListener) Addr() net.Addr { return acceptedAddr{} }

type acceptedAddr struct{}

func (acceptedAddr) Network() string { return "accepted" }
func (acceptedAddr) String() string  { return "accepted" }

// acceptedCreds tells gRPC of the TLS handshake that a connection has behind it.
type acceptedCreds struct{}

func (acceptedCreds) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return conn, clearInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
	}
	return conn, credentials.TLSInfo{
		State:          secure.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// clearInfo describes a connection without TLS.
type clearInfo struct{ credentials.CommonAuthInfo }

func (clearInfo) AuthType() string { return "clear" }

func (acceptedCreds) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of a server")
}

func (acceptedCreds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "accepted"}
}

func (c acceptedCreds) Clone() credentials.TransportCredentials { return c }

func (acceptedCreds) OverrideServerName(string) error { return nil }
