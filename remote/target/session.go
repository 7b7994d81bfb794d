package target

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

const (
	// freshGrace is how long a session waits for its events stream.
	freshGrace  = 2 * time.Second
	maxFresh    = 64 // sessions that wait so
	maxSessions = 1024
	maxHandles  = 1 << 20 // of a session
	// openAttempts bounds how often an open is tried again because a writer
	// came between.
	openAttempts = 3
)

// session is what a mount may read, and what it has open. It is the
// [transport.Source] of its data connections.
type session struct {
	id       transport.SessionID
	secret   transport.Secret
	client   string
	datasets map[string]*dataset
	files    *fileTable
	out      *outbox
	end      func(why string) // takes the session from its target, and closes it
	grace    *time.Timer      // ends the session, unless its stream begins first
	ended    chan struct{}

	mu      sync.RWMutex
	handles map[uint64]*openFile // nil once the session is closed
	last    uint64
}

func newSession(files *fileTable, datasets map[string]*dataset, client string) *session {
	s := &session{
		client:   client,
		datasets: datasets,
		files:    files,
		out:      newOutbox(),
		ended:    make(chan struct{}),
		handles:  make(map[uint64]*openFile),
	}
	rand.Read(s.id[:])
	rand.Read(s.secret[:])
	return s
}

func (s *session) dataset(name []byte) (*dataset, error) {
	if d := s.datasets[string(name)]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("%w: %q", errNoDataset, name)
}

// open opens what path names and returns its new handle. want, if not nil, is
// the only version that will do.
func (s *session) open(ctx context.Context, d *dataset, path []byte, want *transport.Version) (*wire.OpenReply, error) {
	for range openAttempts {
		f, attr, err := s.files.open(ctx, d, path)
		if err != nil {
			return nil, err
		}
		if want != nil && *want != f.version {
			s.files.release(f)
			return nil, fmt.Errorf("%w since it was looked up", transport.ErrStale)
		}
		handle, err := s.keep(f)
		if err != nil {
			s.files.release(f)
			return nil, err
		}
		if handle != 0 {
			return &wire.OpenReply{Handle: handle, Attr: attr, Settled: f.settled(), UnsettledWhy: f.why}, nil
		}
		s.files.release(f)
	}
	return nil, fmt.Errorf("%w again and again while it was being opened", transport.ErrStale)
}

// keep gives f a handle, and takes over the reference. It returns 0 if the file
// has changed already.
func (s *session) keep(f *openFile) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.handles == nil:
		return 0, errNoSession
	case len(s.handles) == maxHandles:
		return 0, unix.EMFILE
	}
	h := s.last + 1
	if !f.hold(holder{s, h}) {
		return 0, nil
	}
	s.last = h
	s.handles[h] = f
	return h, nil
}

// file returns a reference to what handle names.
func (s *session) file(ref transport.FileRef) (*openFile, error) {
	s.mu.RLock()
	f := s.handles[ref.Handle]
	if f != nil {
		f.refs.Add(1) // the table has one
	}
	s.mu.RUnlock()
	switch {
	case f == nil:
		return nil, fmt.Errorf("%w: %d", transport.ErrUnknownFile, ref.Handle)
	case f.version != ref.Version:
		s.files.release(f)
		return nil, fmt.Errorf("%w: the handle is of another version", transport.ErrStale)
	}
	return f, nil
}

// Read implements [transport.Source].
func (s *session) Read(ref transport.FileRef, off int64, dst []byte, wait bool) error {
	f, err := s.file(ref)
	if err != nil {
		return err
	}
	defer s.files.release(f)
	return f.read(off, dst, wait)
}

// closeHandles closes those of the handles that are open.
func (s *session) closeHandles(handles []uint64) {
	for _, h := range handles {
		s.mu.Lock()
		f := s.handles[h]
		delete(s.handles, h)
		s.mu.Unlock()
		if f != nil {
			s.drop(f, h)
		}
	}
}

func (s *session) drop(f *openFile, handle uint64) {
	f.unhold(holder{s, handle})
	s.files.release(f)
}

// close closes every handle; there are no new ones after it.
func (s *session) close() {
	s.grace.Stop()
	s.out.close()
	close(s.ended)
	s.mu.Lock()
	handles := s.handles
	s.handles = nil
	s.mu.Unlock()
	for h, f := range handles {
		s.drop(f, h)
	}
}
