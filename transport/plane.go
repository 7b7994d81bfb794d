package transport

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"hbmfs/transport/limits"
)

// Plane is the target's half of a transport: it serves the data connections of
// mounts.
type Plane interface {
	// Name is the transport's.
	Name() string
	// Encrypts reports whether payload is under TLS where the target has that. One
	// that can't encrypt has no [Greeting.ALPN].
	Encrypts() bool
	// Greetings are those of the connections that it takes over from the target's
	// listener; none where it listens on its own.
	Greetings() []Greeting
	// Listen has the plane take connections of its own at an address and port that
	// the target listens on, if it needs any. The error says why it can't be served
	// there.
	Listen(addr netip.AddrPort) error
	// Close ends all connections, and returns when no read of a source is under way.
	Close() error
}

// Greeting is how a kind of connection begins.
type Greeting struct {
	// Magic is the first that the client sends.
	Magic [4]byte
	// ALPN is the protocol that it negotiates where the target uses TLS; empty where
	// it never does.
	ALPN string
	// Serve serves a connection, from its magic on, until it or ctx ends, and closes
	// it. It calls admitted as soon as the client has proved itself: how many have
	// not is the target's to bound.
	Serve func(ctx context.Context, conn net.Conn, admitted func())
}

// NewPlane makes a plane for the sessions that it is asked for, whose clients
// are bounded by bounds. Connections that break the protocol or are refused are
// logged to log.
type NewPlane func(sessions Sessions, bounds limits.Data, log *slog.Logger) Plane
