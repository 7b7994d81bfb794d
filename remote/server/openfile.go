package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// openFile is what a handle of a session names. It is the [store.Holder] of its
// object.
type openFile struct {
	session *session
	handle  uint64
	attempt uint64 // of the mount's, to open it
	object  store.Object
	version transport.Version
	settled bool
	share   *limits.Share // of open files; see [charges]
	refs    atomic.Int64  // of the handle, and calls under way

	unlinked atomic.Bool // the mount was told that no name leads to it any more

	naming sync.Mutex  // held while its name is delegated
	name   *delegation // nil: it was not; guarded by naming
}

// release gives a reference back. The last one closes the object.
func (f *openFile) release() {
	if f.refs.Add(-1) == 0 {
		f.endName()
		f.object.Close()
		f.session.target.bounds.files.leave(f)
	}
}

// Revoke implements [store.Holder]. Writers go on once the mount can't vouch for
// the file any more: it has acknowledged the change, or its term has passed. One
// that held them up, and does not acknowledge within a whole term, loses its
// session.
func (f *openFile) Revoke() (released func()) {
	return f.session.release(f.session.out.post(f.handle, "a writer opened it, or it was truncated"))
}

// release returns what waits until the mount has acknowledged n, or its term has
// passed.
func (s *session) release(n notice) (released func()) {
	counted := s.target.beginRevocation()
	return func() {
		n.settle(s.out.clock)
		if !counted {
			return
		}
		go func() {
			defer s.target.revoking.Done()
			if n.ignored(s.out.clock) {
				s.silent()
			}
		}()
	}
}

// beginRevocation counts one, unless the target is being closed.
func (t *Server) beginRevocation() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.sessions == nil {
		return false
	}
	t.revoking.Add(1)
	return true
}

// spans tells where the file has data from off on.
func (f *openFile) spans(ctx context.Context, off uint64) (*wire.SpansReply, error) {
	size := uint64(f.object.Size())
	if off > size {
		return nil, fmt.Errorf("%w: data from %d of a file of %d", transport.ErrRange, off, size)
	}
	sparse, ok := f.object.(store.Sparse)
	if !ok {
		return &wire.SpansReply{Data: []uint64{off, size}, End: size}, nil
	}
	data, end, err := sparse.Spans(ctx, int64(off))
	return &wire.SpansReply{Data: data, End: uint64(end)}, err
}
