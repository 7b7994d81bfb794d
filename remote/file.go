package remote

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// File is one version of a file, open at the target. All methods may be called
// concurrently; none but Attr, Size, Version, Settled and Stale after Close.
type File struct {
	t             *Target
	dataset, path string
	attr          Attr
	settled       bool
	why           string

	refs   atomic.Int64 // Open's, and one for each request under way
	closed atomic.Bool
	stale  atomic.Bool // never goes back; set under mu

	// Guarded by Target.mu. The handle is good in this session only.
	session *session
	handle  uint64

	mu      sync.Mutex
	onStale func() // nil once called
}

// Open opens what path names in the dataset, in the version want if that is not
// nil. The error wraps [transport.ErrStale] if there is another, a
// [syscall.Errno] of the target's, or [transport.ErrConnLost].
//
// If ctx ends first, a handle that the target still gives is closed.
func (t *Target) Open(ctx context.Context, dataset, path string, want *transport.Version) (*File, error) {
	f := &File{t: t, dataset: dataset, path: path}
	f.refs.Store(1)
	done := make(chan error, 1)
	go func() { done <- f.open(context.WithoutCancel(ctx), want) }()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		return f, nil
	case <-ctx.Done():
		go func() {
			if <-done == nil {
				f.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func (f *File) open(ctx context.Context, want *transport.Version) error {
	return f.t.call(ctx, func(ctx context.Context, s *session) error {
		f.t.opens(s, 1)
		defer f.t.opens(s, -1)
		reply, err := f.t.control.Open(ctx, f.openRequest(s, want))
		if err != nil {
			return err
		}
		if f.attr, err = newAttr(reply.Attr); err != nil {
			return err
		}
		f.settled, f.why = reply.Settled, reply.UnsettledWhy
		return f.t.register(f, s, reply.Handle)
	})
}

// openRequest names f in the session s. want, if not nil, is the only version
// that will do.
func (f *File) openRequest(s *session, want *transport.Version) *wire.OpenRequest {
	req := &wire.OpenRequest{Session: s.id, Dataset: []byte(f.dataset), Path: []byte(f.path)}
	if want != nil {
		req.Version = want[:]
	}
	return req
}

// register makes an open file known, unless its session is gone already.
func (t *Target) register(f *File, s *session, handle uint64) error {
	t.mu.Lock()
	if t.closed || t.cur != s {
		t.mu.Unlock()
		return transport.ErrSession
	}
	t.files[f] = struct{}{}
	changed := t.bind(f, s, handle)
	t.mu.Unlock()
	if changed {
		f.expire()
	}
	return nil
}

// bind gives f its handle in the session s. It returns true if an event about
// the handle came first. t.mu is held.
func (t *Target) bind(f *File, s *session, handle uint64) bool {
	f.session, f.handle = s, handle
	s.files[handle] = f
	_, changed := s.early[handle]
	delete(s.early, handle)
	return changed
}

// Attr returns the attributes that came with the open.
func (f *File) Attr() Attr { return f.attr }

// Size is the version's, in bytes.
func (f *File) Size() int64 { return int64(f.attr.Size) }

// Version returns the version that is open.
func (f *File) Version() transport.Version { return f.attr.Version }

// Settled reports whether the target holds a read lease, so that no change can
// go unnoticed; if not, why says so.
func (f *File) Settled() (ok bool, why string) { return f.settled, f.why }

// Stale reports whether the file has changed. Reads then fail, all of them, with
// an error wrapping [transport.ErrStale].
func (f *File) Stale() bool { return f.stale.Load() }

// OnStale sets what is called, once, when the file turns stale, or at once if it
// is. The writer that changes the file waits for it, half a second at most. It
// must not block on a request: it may run where requests end.
func (f *File) OnStale(fn func()) {
	f.mu.Lock()
	if !f.stale.Load() {
		f.onStale = fn
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()
	fn()
}

// expire turns the file stale.
func (f *File) expire() {
	f.mu.Lock()
	f.stale.Store(true)
	fn := f.onStale
	f.onStale = nil
	f.mu.Unlock()
	if fn != nil {
		fn()
	}
}

// Digest returns the SHA-256 of n bytes from off, as the target reads them from
// its source. It takes as long as that takes: only while the target is away does
// the time-out count.
func (f *File) Digest(ctx context.Context, off, n int64) ([32]byte, error) {
	var sum [32]byte
	if off < 0 || n < 0 || off > f.Size()-n {
		return sum, fmt.Errorf("digest of %d bytes at %d of a file of %d: %w", n, off, f.Size(), transport.ErrRange)
	}
	if f.Stale() {
		return sum, f.errStale()
	}
	err := f.t.longCall(ctx, func(ctx context.Context, s *session, idle *time.Timer) error {
		idle.Stop()
		defer idle.Reset(f.t.cfg.Timeout)
		ref, err := f.t.refIn(f, s)
		if err != nil {
			return err
		}
		reply, err := f.t.control.Digest(ctx, &wire.DigestRequest{
			Session: s.id, Handle: ref.Handle, Version: ref.Version[:], Offset: uint64(off), Length: uint64(n),
		})
		if err != nil {
			return err
		}
		if len(reply.Sha256) != len(sum) {
			return fmt.Errorf("%w: a digest of %d bytes", transport.ErrProtocol, len(reply.Sha256))
		}
		sum = [32]byte(reply.Sha256)
		return nil
	})
	return sum, f.judge(err)
}

// judge turns the file stale if err says so.
func (f *File) judge(err error) error {
	if isStale(err) {
		f.expire()
	}
	return err
}

// refIn returns how f is named in the session s.
func (t *Target) refIn(f *File, s *session) (transport.FileRef, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.session == s {
		return transport.FileRef{Handle: f.handle, Version: f.attr.Version}, nil
	}
	if f.Stale() {
		return transport.FileRef{}, f.errStale()
	}
	return transport.FileRef{}, transport.ErrSession
}

func (f *File) errStale() error {
	return fmt.Errorf("%s/%s: %w", f.dataset, f.path, transport.ErrStale)
}

// Close gives the file up. It does not wait: requests under way go on, and the
// target is told after the last one.
func (f *File) Close() {
	if f.closed.CompareAndSwap(false, true) {
		f.release()
	}
}

// release gives a reference back. With the last one the handle is closed.
func (f *File) release() {
	if f.refs.Add(-1) == 0 {
		f.t.unregister(f)
	}
}
