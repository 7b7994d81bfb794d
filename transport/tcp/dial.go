package tcp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/liveness"
)

// dial opens one connection and proves the session on it: see [lanes.Config].
func (l *link) dial(ctx context.Context) (*lanes.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, liveness.Handshake)
	defer cancel()
	nc, err := l.reach(ctx)
	if err != nil {
		return nil, err
	}
	return &newConn(l, nc).Conn, nil
}

func (l *link) reach(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: liveness.KeepAlive}
	raw, err := d.DialContext(ctx, "tcp", l.Session.Addr)
	if err != nil {
		return nil, err
	}
	// One way to interrupt all that follows: the handshakes' reads and writes
	// end when the connection is closed.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	nc, err := l.prove(ctx, raw)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return nc, nil
}

func (l *link) prove(ctx context.Context, raw net.Conn) (net.Conn, error) {
	nc := raw
	if l.Session.TLS != nil {
		c := tls.Client(raw, l.clientTLS())
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		if p := c.ConnectionState().NegotiatedProtocol; p != ALPN {
			return nil, fmt.Errorf("%w: the peer chose %q and not %q under TLS", transport.ErrProtocol, p, ALPN)
		}
		nc = c
	}
	return nc, shake.Authenticate(nc, l.Session)
}

func (l *link) clientTLS() *tls.Config {
	cfg := l.Session.TLS.Clone()
	cfg.NextProtos = []string{ALPN}
	if cfg.ServerName == "" {
		if host, _, err := net.SplitHostPort(l.Session.Addr); err == nil {
			cfg.ServerName = host
		}
	}
	return cfg
}
