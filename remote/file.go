package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hbmfs/remote/namespace"
	"hbmfs/remote/session"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// ErrFileClosed: the file was closed, so that nobody can say whether it changed.
var ErrFileClosed = errors.New("the file was closed")

// File is one version of a file, open at the target. All methods may be called
// concurrently; none but Attr, Size, Version, Settled and Stale after Close.
type File struct {
	t             *Target
	handle        uint64 // in every session that it is open in
	dataset, path string

	// Set by the open.
	attr    namespace.Attr
	settled bool
	why     string

	session    atomic.Pointer[session.Session] // that it is open in, or about to be
	isOpen     bool                            // guarded by fileTable.mu
	orphan     atomic.Bool                     // it is not kept: no name leads to it any more, or it was discarded
	onUnlinked atomic.Pointer[func()]

	spans  atomic.Pointer[namespace.Spans] // that were asked for last, of a file with holes
	refs   atomic.Int64                    // Open's, which a kept one has too, and one for each request under way
	closed atomic.Bool                     // but maybe kept
	stale  atomic.Bool                     // never goes back; set under mu

	mu      sync.Mutex
	onStale func() // nil once called

	named    atomic.Pointer[session.Session] // in which its name is delegated; nil: none. Set under mu
	recalled uint64                          // how often that was recalled; guarded by mu
	unnamed  atomic.Int64                    // until when the target is not asked to delegate it, by the mount's clock
}

// Open opens what path names in the dataset, in the version want if that is not
// nil. The error wraps [transport.ErrStale] if there is another, a
// [syscall.Errno] of the target's, or [transport.ErrConnLost].
//
// If ctx ends first, what the target still opens is closed. Where the target has room
// for no more open files, Open of a given version waits for those that this mount has
// closed.
func (t *Target) Open(ctx context.Context, dataset, path string, want *transport.Version) (*File, error) {
	if want != nil {
		if f, ok, err := t.openKept(ctx, dataset, path, *want); ok {
			return f, err
		}
	}
	inner, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	for {
		closed := t.closer.SoFar()
		f, err := t.openOnce(ctx, dataset, path, want)
		if want == nil || !errors.Is(err, syscall.ENFILE) {
			return f, err
		}
		closeAll(t.kept.Shed(shedShort))
		if inner.Err() != nil || !t.closer.MoreThan(inner, closed) {
			return nil, err
		}
	}
}

// shedShort is what part of the kept files, one in so many, is closed where the target
// has no room for another.
const shedShort = 4

func (t *Target) openOnce(ctx context.Context, dataset, path string, want *transport.Version) (*File, error) {
	f := &File{t: t, dataset: dataset, path: path}
	f.refs.Store(1)
	t.files.add(f)
	a := f.askOpen(want)
	a.file = f
	if err := t.memories.ask(ctx, a); err != nil {
		f.abandon(a)
		return nil, err
	}
	t.counters.opens.Add(1)
	return f, nil
}

// askOpen asks for f to be opened. want, if not nil, is the only version that will
// do.
func (f *File) askOpen(want *transport.Version) *ask {
	req := &wire.OpenRequest{Handle: f.handle, Dataset: []byte(f.dataset), Path: []byte(f.path)}
	if want != nil {
		req.Version = want[:]
	}
	return newAsk(&wire.Ask{What: &wire.Ask_Open{Open: req}})
}

// opened takes the answer that came in the session s.
func (f *File) opened(s *session.Session, r *wire.OpenReply) (err error) {
	if f.attr, err = namespace.DecodeAttr(r.Attr); err != nil {
		return err
	}
	f.settled, f.why = r.Settled, r.UnsettledWhy
	return f.t.files.opened(f, s)
}

// abandon gives up a file whose open failed, or is not waited for any more. What
// the target may have opened is closed once it can't come to be open after that.
func (f *File) abandon(a *ask) {
	select {
	case <-a.ended:
		f.release()
	default:
		go func() {
			<-a.ended
			f.release()
		}()
	}
}

// Attr returns the attributes that came with the open.
func (f *File) Attr() namespace.Attr { return f.attr }

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

// OnUnlinked sets what is called when the target tells that no name leads to the file
// any more, or at once if it has. It may be called twice, also after Close.
func (f *File) OnUnlinked(fn func()) {
	f.onUnlinked.Store(&fn)
	if f.orphan.Load() {
		fn()
	}
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
	err := f.t.longCall(ctx, func(ctx context.Context, s *session.Session, idle *time.Timer) error {
		idle.Stop()
		defer idle.Reset(f.t.cfg.Timeout)
		ref, err := f.refIn(s)
		if err != nil {
			return err
		}
		reply, err := f.t.control.Digest(ctx, &wire.DigestRequest{
			Session: s.ID, Handle: ref.Handle, Version: ref.Version[:], Offset: uint64(off), Length: uint64(n),
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

// refIn returns how f is named in the session s. The error wraps
// [transport.ErrStale], or is [transport.ErrSession] if s is not the one that f is
// open in.
func (f *File) refIn(s *session.Session) (transport.FileRef, error) {
	if f.Stale() {
		return transport.FileRef{}, f.errStale()
	}
	if f.session.Load() != s {
		return transport.FileRef{}, transport.ErrSession
	}
	return transport.FileRef{Handle: f.handle, Version: f.attr.Version}, nil
}

func (f *File) errStale() error {
	return fmt.Errorf("%s/%s: %w", f.dataset, f.path, transport.ErrStale)
}

// Close gives the file up. It does not wait: requests under way go on. The target is
// told after the last one, unless the file is kept for who opens it next.
func (f *File) Close() {
	if f.closed.CompareAndSwap(false, true) && !f.t.keep(f) {
		f.release()
	}
}

// Discard is Close of a file that is not to be kept.
func (f *File) Discard() {
	f.orphan.Store(true)
	f.Close()
}

// acquire takes a reference, unless the last one is gone already.
func (f *File) acquire() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives a reference back. With the last one f is closed at the target.
func (f *File) release() {
	if f.refs.Add(-1) == 0 {
		f.t.closer.Add(f.handle, f.t.files.remove(f))
	}
}
