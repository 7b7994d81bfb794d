package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"hbmfs/remote/server/store"
	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/printable"
)

// freshGrace is how long a session waits for its events stream.
const freshGrace = 2 * time.Second

// session is what a mount may read, and what it has open. It is the
// [transport.Source] of its data connections.
type session struct {
	id       transport.SessionID
	secret   transport.Secret
	client   string
	datasets map[string]*dataset
	target   *Server
	out      *outbox
	end      func(why string) // takes the session from its target, and closes it
	silent   func()           // is told that the mount held up a writer for a whole term
	peer     string           // who opened it, as clientOf names it; empty: this process
	place    *limits.Share    // of sessions; left when it is closed
	opened   *limits.Share    // of handles; likewise
	crowd    crowd            // for it
	grace    *time.Timer      // ends the session, unless its stream begins first
	attached bool             // its stream has begun; guarded by Server.mu
	why      string           // it ended; set before ended is closed
	ended    chan struct{}

	mu      sync.RWMutex
	handles map[uint64]*openFile // nil once the session is closed
}

func newSession(t *Server, datasets map[string]*dataset, client string) *session {
	s := &session{
		client:   client,
		datasets: datasets,
		target:   t,
		out:      newOutbox(t.cfg.Clock),
		ended:    make(chan struct{}),
		handles:  make(map[uint64]*openFile),
	}
	rand.Read(s.id[:])
	rand.Read(s.secret[:])
	return s
}

func (s *session) dataset(name []byte) (*dataset, error) {
	d := s.datasets[string(name)]
	switch {
	case d == nil:
		return nil, fmt.Errorf("%w: %q", errNoDataset, printable.Cut(string(name), store.MaxName))
	case d.gone != "":
		return nil, &goneError{d}
	}
	return d, nil
}

// file returns a reference to what handle names.
func (s *session) file(ref transport.FileRef) (*openFile, error) {
	f := s.acquire(ref.Handle)
	switch {
	case f == nil:
		return nil, fmt.Errorf("%w: %d", transport.ErrUnknownFile, ref.Handle)
	case f.version != ref.Version:
		f.release()
		return nil, fmt.Errorf("%w: the handle is of another version", transport.ErrStale)
	}
	return f, nil
}

// acquire returns a reference to what handle names; nil: nothing.
func (s *session) acquire(handle uint64) *openFile {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := s.handles[handle]
	if f != nil {
		f.refs.Add(1) // the table has one
	}
	return f
}

// TryRead implements [transport.Source].
func (s *session) TryRead(ref transport.FileRef, off int64, dst []byte) error {
	f, err := s.file(ref)
	if err != nil {
		return err
	}
	defer f.release()
	return f.object.TryRead(off, dst)
}

// Read implements [transport.Source].
func (s *session) Read(ctx context.Context, ref transport.FileRef, off int64, dst []byte) error {
	f, err := s.file(ref)
	if err != nil {
		return err
	}
	defer f.release()
	return f.object.Read(ctx, off, dst)
}

// close closes every handle once the mount can't vouch for it any more, and
// writers wait for that; there are no new handles after it.
func (s *session) close() {
	s.grace.Stop()
	s.place.Leave()
	left := s.out.close()
	close(s.ended)
	s.mu.Lock()
	handles := s.handles
	s.handles = nil
	s.opened.Leave()
	s.mu.Unlock()
	if left <= 0 {
		dropAll(handles)
		return
	}
	s.target.revoking.Add(1)
	time.AfterFunc(left, func() {
		defer s.target.revoking.Done()
		dropAll(handles)
	})
}

func dropAll(handles map[uint64]*openFile) {
	for _, f := range handles {
		f.release()
	}
}
