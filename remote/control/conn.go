// Package control is a mount's connection for control calls to a target: it is
// made again when it is lost, and says in words for users why it can't be.
//
// The package makes no call and decides on no retry of one. Locking: dialer.mu
// guards why the last attempt came to nothing, and is not held over I/O.
package control

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// keepAlive finds out about a target that is gone while no call is under way.
var keepAlive = keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}

// redial is how gRPC comes back to a target that was away.
var redial = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 2 * time.Second,
}

// Conn is a control connection. The caller closes it.
type Conn struct {
	*grpc.ClientConn
	dialer *dialer
}

// New returns a connection to addr, with TLS if config is not nil, or by dial if
// that is not. It does not wait for it; dialled is told how each attempt ended.
func New(addr string, config *tls.Config, dial func(context.Context) (net.Conn, error), dialled func(error)) (*Conn, error) {
	d := newDialer(addr, config)
	if dial == nil {
		dial = d.dial
	}
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // dial has the TLS handshake behind it
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := dial(ctx)
			dialled(err)
			return c, err
		}),
		grpc.WithKeepaliveParams(keepAlive),
		grpc.WithConnectParams(redial))
	if err != nil {
		return nil, err
	}
	return &Conn{conn, d}, nil
}

// Error is [Error] for a call by c; of one that was lost it says why there is no
// connection, if there is none.
func (c *Conn) Error(err error) error { return c.dialer.explain(Error(err)) }
