package tcp

import (
	"context"
	"log/slog"
	"net"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/liveness"
	"hbmfs/transport/internal/serving"
	"hbmfs/transport/limits"
)

// Server is the target's side: it serves connections that its owner accepted.
type Server struct {
	sessions transport.Sessions
	bounds   limits.Data
	serving  *serving.Server
}

// NewServer returns a server for the sessions that it is asked for, whose clients
// are bounded by bounds. Connections that break the protocol or are refused are
// logged to log.
func NewServer(sessions transport.Sessions, bounds limits.Data, log *slog.Logger) *Server {
	return &Server{sessions, bounds, serving.NewServer(log, "data connection")}
}

// ServeConn serves one connection, which may be a [*tls.Conn], until it ends or
// ctx does, and closes it. The connection's stream is expected from its first
// byte, [Magic], on. ServeConn returns once no read of a source is under way for
// the connection. It calls admitted, if not nil, when the client has proved itself:
// how many connections have not is the owner's to bound.
//
// It takes one goroutine, 10 seconds at most, until the client has proved
// itself, and after that up to 33, and [serving.MaxStaged] of staging.
func (s *Server) ServeConn(ctx context.Context, c net.Conn, admitted func()) {
	s.serving.Serve(ctx, raw(c), admitted, func(ctx context.Context, admitted func()) error {
		return s.serve(ctx, c, admitted)
	})
}

func (s *Server) serve(ctx context.Context, c net.Conn, admitted func()) error {
	tuneServer(raw(c))
	c.SetDeadline(time.Now().Add(liveness.Handshake))
	var place *limits.Share
	who, err := shake.Admit(c, s.sessions, func(a transport.Admission) (err error) {
		place, err = s.bounds.Connections.Take(a.Client, 1)
		return err
	})
	if place != nil {
		defer place.Leave()
	}
	if err != nil {
		return err
	}
	admitted()
	c.SetDeadline(time.Time{})
	return serving.NewConn(ctx, c, &carrier{nc: c}, who.Admission, s.bounds.Staging).Run()
}

// Close ends all connections and returns when no ServeConn is under way. Later
// ones close their connection at once.
func (s *Server) Close() error { return s.serving.Close() }
