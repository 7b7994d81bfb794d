package target

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
)

const (
	// backlog is how many connection requests the kernel keeps for a server.
	backlog = 128
	// listenAgain is how long a server waits before it tries again to listen on
	// a device that went away.
	listenAgain = time.Second
)

var errListening = errors.New("the server listens already")

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
	s.devices = &devices{arena: s.arena, open: make(map[string]*device)}
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

// listenerRemoved listens again, once its device is back, if id is the listener.
func (s *Server) listenerRemoved(id *verbs.ID) {
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
	s.log.Warn("rdma: the device that listens was removed", "", "addr", addr)
	_ = old.Close() // it is of no more use
	for s.pause(listenAgain) {
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

// pause reports false, and returns early, when the server is closed.
func (s *Server) pause(d time.Duration) bool {
	select {
	case <-s.quit:
		return false
	case <-time.After(d):
		return true
	}
}
