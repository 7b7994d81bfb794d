package server

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"

	"hbmfs/transport/limits"
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

// controlConn is an accepted connection, and whose it is.
type controlConn struct {
	net.Conn
	info  controlInfo
	share *limits.Share // nil where it was refused
}

func (c *controlConn) Close() error {
	if c.share != nil {
		c.share.Leave()
	}
	return c.Conn.Close()
}

// controlInfo is what calls learn of their connection.
type controlInfo struct {
	credentials.CommonAuthInfo
	client  string // as certificate or host; empty: this process
	refused error  // what every call on it is told
}

func (controlInfo) AuthType() string { return "accepted" }

// acceptedCreds tells gRPC of what a connection has behind it.
type acceptedCreds struct{}

func (acceptedCreds) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	var info controlInfo
	if c, ok := conn.(*controlConn); ok {
		info = c.info
	}
	return conn, info, nil
}

func (acceptedCreds) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of a server")
}

func (acceptedCreds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "accepted"}
}

func (c acceptedCreds) Clone() credentials.TransportCredentials { return c }

func (acceptedCreds) OverrideServerName(string) error { return nil }
