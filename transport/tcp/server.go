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

// connsPerSession is how many connections one session may have: the lanes of the
// largest link, and as many for exchanges. Each may pin staging memory.
const connsPerSession = 2 * MaxConnections

var errCrowd = errors.New("the session has too many data connections")

// Server is the target's side: it serves connections that its owner accepted.
type Server struct {
	sessions transport.Sessions
	log      *slog.Logger

	mu     sync.Mutex // guards all below
	conns  map[net.Conn]struct{}
	served map[transport.Source]int // connections of each session
	closed bool
	open   sync.WaitGroup // of ServeConn
}

// NewServer returns a server for the sessions that it is asked for. Connections
// that break the protocol or are refused are logged to log.
func NewServer(sessions transport.Sessions, log *slog.Logger) *Server {
	return &Server{sessions: sessions, log: log, conns: make(map[net.Conn]struct{}), served: make(map[transport.Source]int)}
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
	level := slog.LevelDebug // for what anyone could cause
	who, err := shake.Admit(c, s.sessions)
	if err == nil {
		level = slog.LevelWarn
		if admitted != nil {
			admitted()
		}
		c.SetDeadline(time.Time{})
		err = s.serve(c, who.Source)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		s.log.Log(ctx, level, "data connection ended", "peer", c.RemoteAddr(), "err", err)
	}
}

func (s *Server) serve(c net.Conn, source transport.Source) error {
	if !s.enter(source) {
		return errCrowd
	}
	defer s.leave(source)
	return newServing(c, source).run()
}

// enter counts a connection of the session that source belongs to, if it may
// have another.
func (s *Server) enter(source transport.Source) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served[source] >= connsPerSession {
		return false
	}
	s.served[source]++
	return true
}

func (s *Server) leave(source transport.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served[source]--; s.served[source] == 0 {
		delete(s.served, source)
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
