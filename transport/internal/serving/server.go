package serving

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"

	"hbmfs/transport"
)

// Server keeps account of the connections that a transport serves, and of how
// many each session has.
type Server struct {
	log   *slog.Logger
	what  string
	limit int

	mu     sync.Mutex // guards all below
	conns  map[net.Conn]context.CancelFunc
	served map[transport.Source]int // of each session
	closed bool
	open   sync.WaitGroup // of Serve
}

// NewServer returns a server without connections. A session may have limit at a
// time; what names a kind of connection, for log.
func NewServer(log *slog.Logger, what string, limit int) *Server {
	return &Server{
		log: log, what: what, limit: limit,
		conns: make(map[net.Conn]context.CancelFunc), served: make(map[transport.Source]int),
	}
}

// Serve runs serve, which must return once c is closed and its context ended, as
// they are when ctx ends or the server is closed; then it closes c. serve calls
// its admitted, which calls the one given, if not nil, when the client has proved
// itself: before that, its errors are what anyone could cause.
func (s *Server) Serve(ctx context.Context, c net.Conn, admitted func(), serve func(ctx context.Context, admitted func()) error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !s.track(c, cancel) {
		c.Close()
		return
	}
	defer s.forget(c)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	level := slog.LevelDebug
	err := serve(ctx, func() {
		level = slog.LevelWarn
		if admitted != nil {
			admitted()
		}
	})
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		s.log.Log(ctx, level, s.what+" ended", "peer", c.RemoteAddr(), "err", err)
	}
}

func (s *Server) track(c net.Conn, cancel context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = cancel
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

// Enter counts a connection of the session that source belongs to, if it may
// have another.
func (s *Server) Enter(source transport.Source) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served[source] >= s.limit {
		return false
	}
	s.served[source]++
	return true
}

// Leave undoes an Enter.
func (s *Server) Leave(source transport.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served[source]--; s.served[source] == 0 {
		delete(s.served, source)
	}
}

// Close ends all connections and returns when no Serve is under way. Later ones
// close their connection at once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c, cancel := range s.conns {
		c.Close()
		cancel() // not before: who waits for that may write to c then
	}
	s.mu.Unlock()
	s.open.Wait()
	return nil
}
