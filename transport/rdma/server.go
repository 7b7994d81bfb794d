package rdma

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
)

const (
	// maxConns is how many connections a server has at most.
	maxConns = 1024
	// backlog is how many connection requests the kernel keeps for a server.
	backlog = 128
	// listenAgain is how long a server waits before it tries again to listen on
	// a device that went away.
	listenAgain = time.Second
)

var (
	errListening    = errors.New("the server listens already")
	errDisconnected = errors.New("the client disconnected")
)

// Server is the target's side: it accepts connections and writes what they ask
// for into their clients' memory.
type Server struct {
	log      *slog.Logger
	registry *registry
	alter    func(*serving, *answer) bool // a fault test's; false: the answer is not sent

	requests, bytes atomic.Int64

	mu       sync.Mutex // guards all below
	events   *verbs.Events
	arena    *arena
	devices  *serverDevices
	listener *verbs.ID
	conns    map[*verbs.ID]*serving // those included whose clients are yet to be told of the end
	closed   bool
	quit     chan struct{}  // closed when closed becomes true
	open     sync.WaitGroup // of connections, and of whoever listens again
	parting  sync.WaitGroup // of connections whose clients are yet to be told
	looping  sync.WaitGroup // of the event loop
}

// ServerStats counts what a server did since it was made.
type ServerStats struct {
	Connections int   `json:"connections"` // now, the ones being set up included
	Requests    int64 `json:"requests"`    // answered
	Bytes       int64 `json:"bytes"`       // payload of those
	Staging     int64 `json:"staging"`     // bytes of staging memory in use now
}

// NewServer returns a server for the sessions that it is asked for. Connections
// that break the protocol or are refused are logged to log.
func NewServer(sessions transport.Sessions, log *slog.Logger) *Server {
	return &Server{
		log: log, registry: newRegistry(sessions),
		conns: make(map[*verbs.ID]*serving), quit: make(chan struct{}),
	}
}

// Listen accepts connections at addr until Close; it is called once. RDMA's port
// space is its own, so the port may be that of a TCP listener. The error wraps
// [transport.ErrUnavailable] where the host has no RDMA device or library, and
// says what is missing, or a [syscall.Errno].
func (s *Server) Listen(addr netip.AddrPort) error {
	if err := usable(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case s.events != nil:
		return errListening
	}
	if err := s.listenLocked(addr); err != nil {
		return fmt.Errorf("rdma: listen at %v: %w", addr, err)
	}
	s.looping.Go(s.loop)
	return nil
}

// usable returns an error wrapping [transport.ErrUnavailable] unless this host
// has the libraries and a device.
func usable() error {
	names, err := verbs.Devices()
	if err == nil && len(names) == 0 {
		err = errors.New("no RDMA device on this host")
	}
	if err != nil {
		return fmt.Errorf("%w: rdma: %w", transport.ErrUnavailable, err)
	}
	return nil
}

func (s *Server) listenLocked(addr netip.AddrPort) (err error) {
	events, err := verbs.NewEvents()
	if err != nil {
		return err
	}
	if s.listener, err = listener(events, addr); err != nil {
		return errors.Join(err, events.Close())
	}
	if s.arena, err = newArena(stagingBuffers); err != nil {
		return errors.Join(err, s.listener.Close(), events.Close())
	}
	s.devices = &serverDevices{arena: s.arena, open: make(map[string]*serverDevice)}
	s.events = events
	return nil
}

func listener(events *verbs.Events, addr netip.AddrPort) (*verbs.ID, error) {
	id, err := events.NewID()
	if err != nil {
		return nil, err
	}
	err = id.Bind(addr)
	if err == nil {
		err = id.Listen(backlog)
	}
	if err != nil {
		return nil, errors.Join(err, id.Close())
	}
	return id, nil
}

// loop dispatches events until the last client was told of the server's end, or
// no more can be had then.
func (s *Server) loop() {
	var last string // error, which is logged once
	for {
		ev, err := s.events.Next()
		if err == nil {
			s.dispatch(ev)
			continue
		}
		if errors.Is(err, verbs.ErrInterrupted) {
			return
		}
		if text := err.Error(); text != last {
			s.log.Warn("rdma: an event of the connection manager was lost", "err", err)
			last = text
		}
		if !s.pause(listenAgain) {
			return
		}
	}
}

// pause reports false, and returns early, when the server is closed.
func (s *Server) pause(d time.Duration) bool {
	select {
	case <-s.quit:
		return false
	case <-time.After(d):
		return true
	}
}

func (s *Server) dispatch(ev verbs.Event) {
	switch ev.Kind {
	case verbs.ConnectRequest:
		s.accept(ev.ID, ev.Private)
	case verbs.Disconnected, verbs.TimewaitExit:
		s.endConn(ev.ID, errDisconnected)
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
		if !errors.Is(err, errDisconnected) && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("rdma: connection ended", "peer", c.peer, "err", err)
		}
	}()
}

// track returns a connection for id, or nil if the server is closed.
func (s *Server) track(id *verbs.ID) *serving {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	c := newServing(s, id)
	c.surplus = len(s.conns) >= maxConns
	s.conns[id] = c
	s.open.Add(1)
	return c
}

func (s *Server) forget(c *serving) {
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
func (s *Server) find(id *verbs.ID) *serving {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// removed lets go of a device: its connections end, and a listener that was
// bound to its address listens again once it is back.
func (s *Server) removed(id *verbs.ID) {
	if c := s.find(id); c != nil {
		c.fail(errRemoved)
		c.remove()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.listener || s.closed {
		return
	}
	s.listener = nil
	s.open.Go(func() { s.listenAgain(id) })
}

func (s *Server) listenAgain(old *verbs.ID) {
	addr := old.Local()
	s.log.Warn("rdma: the device that listens was removed", "addr", addr)
	_ = old.Close() // it is of no more use
	tick := time.NewTicker(listenAgain)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
		if id, err := listener(s.events, addr); err == nil {
			s.adopt(id)
			return
		}
	}
}

// adopt makes id the listener, unless the server is closed.
func (s *Server) adopt(id *verbs.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = id.Close()
		return
	}
	s.listener = id
}

// Stats returns the server's counters.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ServerStats{Connections: len(s.conns), Requests: s.requests.Load(), Bytes: s.bytes.Load()}
	if s.arena != nil {
		st.Staging = int64(s.arena.inUse()) * pieceSize
	}
	return st
}

// Close ends all connections. It returns once no read of a source is under way
// and everything of the devices is closed. Clients that the network can't tell
// now are told later, unless the process ends before.
func (s *Server) Close() error {
	if !s.shut() {
		return nil
	}
	s.open.Wait()
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
	parting.run(s.hush)
	return errors.Join(errs...)
}

// hush closes the event channel once the last client was told.
func (s *Server) hush() {
	s.parting.Wait()
	s.events.Interrupt()
	s.looping.Wait()
	if err := s.events.Close(); err != nil {
		s.log.Warn("rdma: closing the server", "err", err)
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
