package target

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
)

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
