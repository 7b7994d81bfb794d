// Package target is the target's half of package rdma: a server that takes
// connections for the sessions there are, reads what their requests ask for from the
// session's source, and writes it, and then a record, where they say.
//
// It owns its connections, the devices that they are on, and the memory that payload
// is staged in. It never opens a file, and writes no memory but what a client that
// proved itself named. Requests whose bytes are in memory are answered by the
// connection's goroutine, others by its workers.
//
// # Locking
//
// sends.mu guards what a connection's work stands for, and the memory of its records.
// The locks of its outbox and of staging may be taken under it; none is held over a
// post, or while a source is read. Server.mu guards which connections there are,
// devices.mu which devices are open.
package target

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// Server is the target's side: it accepts connections and writes what they ask
// for into their clients' memory.
type Server struct {
	log      *logging.Limiter
	registry *registry
	alter    func(*conn, *answer) bool // a fault test's; false: the answer is not sent

	mu            sync.Mutex // guards all below
	events        *verbs.Events
	arena         *arena
	devices       *devices
	listener      *verbs.ID
	conns         map[*verbs.ID]*conn // those included whose clients are yet to be told of the end
	closed        bool
	quit          chan struct{}  // closed when closed becomes true
	open          sync.WaitGroup // of connections, and of whoever listens again
	disconnecting sync.WaitGroup // of connections whose clients are yet to be told
	looping       sync.WaitGroup // of the event loop
}

// New returns a server for the sessions that it is asked for. How many
// connections they have is bounded by bounds, and what they have of staging by
// the server's own [arena], which is all there. Connections that break the protocol
// or are refused are logged to log.
func New(sessions transport.Sessions, bounds limits.Data, log *slog.Logger) *Server {
	return &Server{
		log: logging.NewLimiter(log), registry: newRegistry(sessions, bounds.Connections),
		conns: make(map[*verbs.ID]*conn), quit: make(chan struct{}),
	}
}

// Name implements [transport.Plane].
func (s *Server) Name() string { return wire.Name }

// Encrypts implements [transport.Plane].
func (s *Server) Encrypts() bool { return false }

// Greetings implements [transport.Plane].
func (s *Server) Greetings() []transport.Greeting { return nil }

// loop dispatches events until the last client was told of the server's end, or
// no more can be had then.
func (s *Server) loop() {
	for {
		ev, err := s.events.Next()
		if err == nil {
			s.dispatch(ev)
			continue
		}
		if errors.Is(err, verbs.ErrInterrupted) {
			return
		}
		s.log.Warn("rdma: an event of the connection manager was lost", "", "err", err)
		if !s.pause(listenAgain) {
			return
		}
	}
}

func (s *Server) dispatch(ev verbs.Event) {
	switch ev.Kind {
	case verbs.ConnectRequest:
		s.accept(ev.ID, ev.Private)
	case verbs.Disconnected, verbs.TimewaitExit:
		s.endConn(ev.ID, hca.ErrPeerLeft)
	case verbs.DeviceRemoval:
		s.removed(ev.ID)
	case verbs.ConnectError, verbs.Unreachable, verbs.Rejected:
		s.endConn(ev.ID, fmt.Errorf("%w: %v, status %d", transport.ErrConnLost, ev.Kind, ev.Status))
	}
}

// accept sets a connection up, and serves it, on a goroutine of its own.
func (s *Server) accept(id *verbs.ID, private []byte) {
	c := s.track(id)
	if c == nil {
		_ = id.Close() // which the kernel rejects
		return
	}
	go func() {
		defer s.open.Done()
		err := c.run(private)
		if !errors.Is(err, hca.ErrPeerLeft) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, limits.ErrLimit) { // which says so itself
			s.log.Warn("rdma: connection ended", logging.Host(c.peer), "peer", c.peer, "err", err)
		}
	}()
}

// track returns a connection for id, or nil if the server is closed.
func (s *Server) track(id *verbs.ID) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	c := newConn(s, id)
	s.conns[id] = c
	s.open.Add(1)
	return c
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
}

// endConn ends a connection, if id is still one.
func (s *Server) endConn(id *verbs.ID, err error) {
	if c := s.find(id); c != nil {
		c.fail(err)
	}
}

// find returns nil if id is no connection.
func (s *Server) find(id *verbs.ID) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// removed lets go of a device: its connections end, and a listener that was
// bound to its address listens again once it is back.
func (s *Server) removed(id *verbs.ID) {
	if c := s.find(id); c != nil {
		c.fail(hca.ErrRemoved)
		c.remove()
	}
	s.listenerRemoved(id)
}

// Close ends all connections. It returns once no read of a source is under way
// and everything of the devices is closed. Clients that the network can't tell
// now are told later, unless the process ends before.
func (s *Server) Close() error {
	if !s.shut() {
		return nil
	}
	s.open.Wait()
	s.log.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events == nil { // Listen failed, or will
		return nil
	}
	var errs []error
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	errs = append(errs, s.arena.close())
	s.arena = nil
	hca.Disconnects.Run(s.closeEvents)
	return errors.Join(errs...)
}

// closeEvents closes the event channel once the last client was told.
func (s *Server) closeEvents() {
	s.disconnecting.Wait()
	s.events.Interrupt()
	s.looping.Wait()
	if err := s.events.Close(); err != nil {
		s.log.Warn("rdma: closing the server", "", "err", err)
	}
}

// shut makes the server refuse connections and ends those it has. It reports
// false if that was done before.
func (s *Server) shut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	close(s.quit)
	for _, c := range s.conns {
		c.fail(net.ErrClosed)
	}
	return true
}
