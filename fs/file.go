package fs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/cache"
	"hbmfs/fs/handles"
	"hbmfs/fs/readahead"
	"hbmfs/fs/ring"
	"hbmfs/remote"
	"hbmfs/remote/namespace"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// fileNode is one version of a regular file (or a block device).
type fileNode struct {
	node
	attr namespace.Attr
	ino  uint64
	// unsettled is set once the version was open while a writer may have had it
	// open too: what the page cache holds of it since is not to be trusted.
	unsettled atomic.Bool
}

// Getattr answers with the version's attributes, which never change. The kernel
// asks before it reads from its page cache: so while the file is open, the answer
// is ESTALE if it is no longer that version at the target.
func (n *fileNode) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if err := retryInterruptedErr(ctx, n.vouch); err != nil {
		return n.t.errno("stat", n.at(), err)
	}
	fillAttr(&out.Attr, &n.attr, n.ino)
	out.SetTimeout(n.t.believeFor(n.key()))
	return 0
}

// vouch returns nil if the version is still the one at the target, or not open.
func (n *fileNode) vouch(ctx context.Context) error {
	for {
		h := n.t.open.judge(n.key())
		if h == nil {
			return nil
		}
		if err := h.vouch(ctx); !errors.Is(err, remote.ErrFileClosed) {
			return err // and else there may be another
		}
	}
}

// vouch returns nil if the version is still the one at the target. Where a change
// can go unnoticed, or was only a writer that did not write, it looks.
func (h *handle) vouch(ctx context.Context) error {
	if h.src.settled {
		err := h.src.file.Vouch(ctx, h.n.t.target.Now())
		if !errors.Is(err, transport.ErrStale) {
			return err
		}
	}
	a, err := h.n.t.target.Stat(ctx, h.n.ds.Name, h.n.at())
	if errors.Is(err, syscall.ENOENT) || err == nil && a.Version != h.n.attr.Version {
		return transport.ErrStale
	}
	return err
}

// Open opens the version at the target. Where the path now leads to another
// version, or to nothing, it answers ESTALE: the kernel then looks the name up
// again.
func (n *fileNode) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY || flags&syscall.O_TRUNC != 0 {
		return nil, 0, syscall.EROFS
	}
	f, err := n.open(ctx)
	if errors.Is(err, syscall.ENOENT) {
		return nil, 0, syscall.ESTALE
	}
	if err != nil {
		return nil, 0, n.t.errno("open", n.at(), err)
	}
	h := newHandle(userOf(ctx), n, f)
	h.prefetch(ctx)
	return h, n.openFlags(h.src.Settled()) | fuse.FOPEN_NOFLUSH, 0 // nothing is written, so nothing is to flush
}

// openFlags keeps the page cache of a version that cannot have changed, and
// keeps the bytes of one that can out of it. A version that was unsettled once
// may have left pages behind, by mmap: those go at each open.
func (n *fileNode) openFlags(settled bool) uint32 {
	if !settled {
		n.unsettled.Store(true)
		return fuse.FOPEN_DIRECT_IO
	}
	if n.unsettled.Load() {
		return 0
	}
	return fuse.FOPEN_KEEP_CACHE
}

// handle is an open file description: what it pins is released with it.
type handle struct {
	n   *fileNode
	src source
	// reads is of who opened the file, whoever reads it.
	reads *limits.Share
	ahead readahead.Stream
	// end is where the latest FETCH ended, -1 before the first.
	end   atomic.Int64
	pins  handles.Table // by handles that no other open file shares
	rings ring.Registered
}

// source is a remote file as the cache wants it.
type source struct {
	file    File
	key     cache.FileKey
	settled bool
	users   atomic.Int32 // of file: the handle, and pins
}

func (s *source) Key() cache.FileKey               { return s.key }
func (s *source) Size() int64                      { return s.file.Size() }
func (s *source) Settled() bool                    { return s.settled }
func (s *source) Submit(reqs []*transport.Request) { s.file.Submit(reqs) }

func (n *fileNode) key() cache.FileKey {
	return cache.FileKey{Dataset: n.ds.index, Ino: n.ino, Version: n.attr.Version}
}

func newHandle(user string, n *fileNode, f File) *handle {
	settled, _ := f.Settled()
	h := &handle{n: n, reads: n.t.bounds.reads.Join(user, 0), src: source{file: f, settled: settled, key: n.key()}}
	h.src.Retain()
	h.ahead.Init(n.t.ahead, user, f, settled)
	h.end.Store(-1)
	n.t.open.add(h) // before changed may be called: it speaks for the version then
	if n.t.target.TermLeft() <= 0 {
		// What the kernel believes since a lookup is under no term of this session.
		_ = n.NotifyContent(-1, 0)
	}
	f.OnStale(h.changed)
	return h
}

// changed ends the reading ahead too.
func (h *handle) changed() {
	h.ahead.Stop()
	h.n.changed()
}

// changed drops what the cache holds of a version that is no more, and has the
// kernel ask before it believes its own pages and attributes again. A writer
// waits for it. Of the kernel's notifications only this one, with a negative
// offset, never waits for a request (fuse_reverse_inval_inode in fs/fuse/inode.c):
// one that does would keep the daemon from being killed.
func (n *fileNode) changed() {
	n.t.cfg.Cache.Forget(n.key())
	_ = n.NotifyContent(-1, 0) // an inode that the kernel does not hold is no error
}

// Read is a plain read: a host copy straight from the target, past the cache, or
// one that was read ahead.
func (h *handle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	r := readResults.Get().(*readResult)
	err := retryInterruptedErr(ctx, func(ctx context.Context) error {
		if err := h.reads.Wait(ctx, 1); err != nil {
			return err
		}
		defer h.reads.Release(1)
		return h.ahead.Read(ctx, off, len(dest), &r.got)
	})
	if err != nil {
		r.Done()
		return nil, h.n.t.errno("read", h.n.at(), err)
	}
	h.n.t.count.plainReads.Add(1)
	h.n.t.count.plainBytes.Add(int64(r.Size()))
	if r.Size() == 0 {
		r.Done()
		return h.readEnd(ctx)
	}
	return r, 0
}

// readEnd is a read at the end of the version, which the file may have outgrown:
// nothing was asked of the target.
func (h *handle) readEnd(ctx context.Context) (fuse.ReadResult, syscall.Errno) {
	if err := retryInterruptedErr(ctx, h.vouch); err != nil {
		return nil, h.n.t.errno("read", h.n.at(), err)
	}
	return fuse.ReadResultData(nil), 0
}

// Release runs when the last descriptor of the open file is closed, also by
// death.
func (h *handle) Release(context.Context) syscall.Errno {
	h.rings.Close()
	h.pins.ReleaseAll()
	h.n.t.open.remove(h)
	h.ahead.Close()
	h.src.file.OnUnlinked(h.unlinked)
	h.src.Release()
	h.reads.Leave()
	return 0
}

var readResults = sync.Pool{New: func() any { return new(readResult) }}

// readResult lends transfers' buffers to go-fuse until the reply is written. That
// takes Slices: with a result that has none, go-fuse calls Done first.
type readResult struct{ got readahead.Bytes }

// Bytes is for who does not know Slices, which go-fuse does.
func (r *readResult) Bytes([]byte) ([]byte, fuse.Status) { return nil, fuse.ENOSYS }
func (r *readResult) Slices() ([][]byte, fuse.Status)    { return r.got.Pieces(), fuse.OK }
func (r *readResult) Size() int                          { return r.got.Len() }

func (r *readResult) Done() {
	r.got.Release()
	readResults.Put(r)
}
