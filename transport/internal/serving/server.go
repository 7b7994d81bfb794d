package serving

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"

	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
)

// Server keeps account of the connections that a transport serves.
type Server struct {
	log  *logging.Limiter
	what string

	mu     sync.Mutex // guards all below
	conns  map[net.Conn]context.CancelFunc
	closed bool
	open   sync.WaitGroup // of Serve
}

// NewServer returns a server without connections; what names a kind of them, for
// log.
func NewServer(log *slog.Logger, what string) *Server {
	return &Server{log: logging.NewLimiter(log), what: what, conns: make(map[net.Conn]context.CancelFunc)}
}

// Serve runs serve, which must return once c is closed and its context ended, as
// they are when ctx ends or the server is closed; then it closes c. serve calls
// its admitted, which calls the one given, if not nil, when the client has proved
// itself. Why it ended is logged, once a minute for each client.
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
	what := s.what + " refused"
	err := serve(ctx, func() {
		what = s.what + " ended"
		if admitted != nil {
			admitted()
		}
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) && !errors.Is(err, limits.ErrLimit) { // which says so itself
		s.log.Warn(what, logging.Host(c.RemoteAddr().String()), "peer", c.RemoteAddr(), "err", err)
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
	s.log.Close()
	return nil
}
