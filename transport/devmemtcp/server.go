package devmemtcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/liveness"
	"hbmfs/transport/internal/serving"
	"hbmfs/transport/limits"
)

const (
	// pairTimeout is how long a ticket is good. It leaves the target time to tell
	// a client, before that gives up, that nobody came with it.
	pairTimeout = liveness.Handshake / 2
)

var errNoHead = errors.New("its ticket is unknown, used or expired")

// Server is the target's side: it serves connections that its owner accepted. A
// target needs no device memory and no special NIC.
type Server struct {
	sessions transport.Sessions
	bounds   limits.Data
	serving  *serving.Server
	patience time.Duration // with data connections; pairTimeout

	mu      sync.Mutex // guards waiting
	waiting map[ticket]*opening
}

// opening is a head connection without its data connection.
type opening struct {
	frame.Admitted
	data chan arrival // the one that shows the ticket
	done chan struct{}
}

// arrival is a data connection, and whether it proved itself.
type arrival struct {
	conn   net.Conn
	proven bool
}

// NewServer returns a server for the sessions that it is asked for, whose clients
// are bounded by bounds. Connections that break the protocol or are refused are
// logged to log.
func NewServer(sessions transport.Sessions, bounds limits.Data, log *slog.Logger) *Server {
	return &Server{
		sessions: sessions,
		bounds:   bounds,
		serving:  serving.NewServer(log, "devmem-tcp connection"),
		patience: pairTimeout,
		waiting:  make(map[ticket]*opening),
	}
}

// ServeHead serves a head connection, and the data connection that comes for it,
// until one of them ends or ctx does, and closes both. The stream is expected
// from its first byte, of [HeadMagic], on. ServeHead returns once no read of a
// source is under way for the pair.
//
// It calls admitted, if not nil, when the client has proved itself: how many
// connections have not is the owner's to bound.
//
// It takes one goroutine, 25 seconds at most, until the pair is made, and after
// that up to 34, and [serving.MaxStaged] of staging.
func (s *Server) ServeHead(ctx context.Context, head net.Conn, admitted func()) {
	s.serving.Serve(ctx, head, admitted, func(ctx context.Context, admitted func()) error {
		return s.head(ctx, head, admitted)
	})
}

// ServeData hands a data connection, from its first byte, of [DataMagic], on, to
// the head that it belongs to, and returns when that has ended. admitted is as
// ServeHead's.
func (s *Server) ServeData(ctx context.Context, data net.Conn, admitted func()) {
	s.serving.Serve(ctx, data, admitted, func(_ context.Context, admitted func()) error {
		return s.data(data, admitted)
	})
}

func (s *Server) head(ctx context.Context, head net.Conn, admitted func()) error {
	tuneHead(head)
	head.SetDeadline(time.Now().Add(liveness.Handshake))
	var place *limits.Share
	who, err := headShake.Admit(head, s.sessions, func(a transport.Admission) (err error) {
		place, err = s.bounds.Connections.Take(a.Client, 2) // the pair
		return err
	})
	if place != nil {
		defer place.Leave()
	}
	if err != nil {
		return fmt.Errorf("head connection: %w", err)
	}
	admitted()
	o := &opening{Admitted: who, data: make(chan arrival, 1), done: make(chan struct{})}
	defer close(o.done)
	data, err := s.pair(ctx, head, o)
	if err != nil {
		return fmt.Errorf("pairing: %w", err)
	}
	head.SetDeadline(time.Time{})
	return s.serve(ctx, head, data, who.Admission)
}

// pair gives o's client a ticket, waits for the connection that shows it, and
// tells the client what became of it.
func (s *Server) pair(ctx context.Context, head net.Conn, o *opening) (net.Conn, error) {
	t := s.expect(o)
	defer s.withdraw(t)
	if _, err := head.Write(t[:]); err != nil {
		return nil, err
	}
	data, verdict := s.meet(ctx, o)
	head.SetDeadline(time.Now().Add(liveness.Handshake))
	if _, err := head.Write(verdict.encode()); err != nil && verdict == paired {
		return nil, err
	}
	return data, pairingErrors[verdict]
}

// expect registers o under a new ticket.
func (s *Server) expect(o *opening) (t ticket) {
	rand.Read(t[:]) // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[t] = o
	return t
}

func (s *Server) withdraw(t ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, t)
}

func (s *Server) meet(ctx context.Context, o *opening) (net.Conn, pairing) {
	late := time.NewTimer(s.patience)
	defer late.Stop()
	select {
	case a := <-o.data:
		if !a.proven {
			return nil, pairedUnproven
		}
		return a.conn, paired
	case <-late.C:
	case <-ctx.Done():
	}
	return nil, pairedLate
}

func (s *Server) data(data net.Conn, admitted func()) error {
	tuneData(data)
	data.SetDeadline(time.Now().Add(liveness.Handshake))
	var b [greetingSize]byte
	if _, err := io.ReadFull(data, b[:]); err != nil {
		return fmt.Errorf("data connection: %w", err)
	}
	g, err := parseGreeting(&b)
	if err != nil {
		return err
	}
	o := s.redeem(g)
	if o == nil {
		return fmt.Errorf("data connection: %w", errNoHead)
	}
	data.SetDeadline(time.Time{})
	proven := g.proven(o.Secret)
	if proven {
		admitted()
	}
	o.data <- arrival{data, proven}
	<-o.done
	return nil
}

// redeem returns who waits for g's ticket, which is good for once. Nil if no
// head of its session does.
func (s *Server) redeem(g greeting) *opening {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.waiting[g.ticket]
	if o == nil || o.ID != g.session {
		return nil
	}
	delete(s.waiting, g.ticket)
	return o
}

// Close ends all connections and returns when neither ServeHead nor ServeData is
// under way. Later ones close their connection at once.
func (s *Server) Close() error { return s.serving.Close() }
