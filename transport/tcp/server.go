package tcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/serving"
)

// connsPerSession is how many connections one session may have: the lanes of the
// largest link, and as many for exchanges. Each may pin staging memory.
const connsPerSession = 2 * MaxConnections

var errCrowd = errors.New("the session has too many data connections")

// Server is the target's side: it serves connections that its owner accepted.
type Server struct {
	sessions transport.Sessions
	serving  *serving.Server
}

// NewServer returns a server for the sessions that it is asked for. Connections
// that break the protocol or are refused are logged to log.
func NewServer(sessions transport.Sessions, log *slog.Logger) *Server {
	return &Server{sessions, serving.NewServer(log, "data connection", connsPerSession)}
}

// ServeConn serves one connection, which may be a [*tls.Conn], until it ends or
// ctx does, and closes it. The connection's stream is expected from its first
// byte, [Magic], on. ServeConn returns once no read of a source is under way for
// the connection. It calls admitted, if not nil, when the client has proved itself:
// how many connections have not is the owner's to bound.
//
// It takes one goroutine, 10 seconds at most, until the client has proved
// itself, and after that up to 17, and 32 MiB of staging.
func (s *Server) ServeConn(ctx context.Context, c net.Conn, admitted func()) {
	s.serving.Serve(ctx, raw(c), admitted, func(_ context.Context, admitted func()) error {
		return s.serve(c, admitted)
	})
}

func (s *Server) serve(c net.Conn, admitted func()) error {
	tuneServer(raw(c))
	c.SetDeadline(time.Now().Add(handshakeTimeout))
	who, err := shake.Admit(c, s.sessions)
	if err != nil {
		return err
	}
	admitted()
	c.SetDeadline(time.Time{})
	if !s.serving.Enter(who.Source) {
		return errCrowd
	}
	defer s.serving.Leave(who.Source)
	return serving.NewConn(c, &carrier{nc: c}, who.Source).Run()
}

// Close ends all connections and returns when no ServeConn is under way. Later
// ones close their connection at once.
func (s *Server) Close() error { return s.serving.Close() }
