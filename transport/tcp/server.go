package tcp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"hbmfs/transport"
)

// Server is the target's side: it serves connections that its owner accepted.
type Server struct {
	sessions transport.Sessions
	log      *slog.Logger

	mu     sync.Mutex // guards all below
	conns  map[net.Conn]struct{}
	closed bool
	open   sync.WaitGroup // of ServeConn
}

// NewServer returns a server for the sessions that it is asked for. Connections
// that break the protocol or are refused are logged to log.
func NewServer(sessions transport.Sessions, log *slog.Logger) *Server {
	return &Server{sessions: sessions, log: log, conns: make(map[net.Conn]struct{})}
}

// ServeConn serves one connection, which may be a [*tls.Conn], until it ends or
// ctx does, and closes it. The connection's stream is expected from its first
// byte, [Magic], on. ServeConn returns once no read of a source is under way for
// the connection.
//
// It takes one goroutine, 10 seconds at most, until the client has proved
// itself, and after that up to 17, and 32 MiB of staging.
func (s *Server) ServeConn(ctx context.Context, c net.Conn) {
	bottom := raw(c)
	if !s.track(bottom) {
		bottom.Close()
		return
	}
	defer s.forget(bottom)
	stop := context.AfterFunc(ctx, func() { bottom.Close() })
	defer stop()

	tuneServer(bottom)
	c.SetDeadline(time.Now().Add(handshakeTimeout))
	source, err := admit(c, s.sessions)
	if err == nil {
		c.SetDeadline(time.Time{})
		err = newServing(c, source).run()
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		s.log.Warn("data connection ended", "peer", c.RemoteAddr(), "err", err)
	}
}

// Close ends all connections and returns when no ServeConn is under way. Later
// ones close their connection at once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.open.Wait()
	return nil
}

func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.open.Add(1)
	return true
}

func (s *Server) forget(c net.Conn) {
	c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.open.Done()
}
