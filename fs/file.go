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
	"hbmfs/remote"
	"hbmfs/transport"
)

// fileNode is one version of a regular file (or a block device).
type fileNode struct {
	node
	attr remote.Attr
	ino  uint64
	// unsettled is set once the version was open while a writer may have had it
	// open too: what the page cache holds of it since is not to be trusted.
	unsettled atomic.Bool
}

// Getattr never asks the target: the node is one version.
func (n *fileNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	fillAttr(&out.Attr, &n.attr, n.ino)
	out.SetTimeout(versionTimeout)
	return 0
}

// Open opens the version at the target. Where the path now leads to another
// version, or to nothing, it answers ESTALE: the kernel then looks the name up
// again.
func (n *fileNode) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY || flags&syscall.O_TRUNC != 0 {
		return nil, 0, syscall.EROFS
	}
	f, err := patient(ctx, func(ctx context.Context) (*remote.File, error) {
		return n.t.cfg.Target.Open(ctx, n.ds.Name, n.at(), &n.attr.Version)
	})
	if errors.Is(err, syscall.ENOENT) {
		return nil, 0, syscall.ESTALE
	}
	if err != nil {
		return nil, 0, n.t.errno("open", n.at(), err)
	}
	h := newHandle(n, f)
	return h, n.openFlags(h.src.Settled()), 0
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

	mu   sync.Mutex
	pins map[uint64]pinned // guarded by mu; by handle, which no other open file shares
}

// source is a remote file as the cache wants it.
type source struct {
	file    *remote.File
	key     cache.FileKey
	settled bool
}

func (s *source) Key() cache.FileKey               { return s.key }
func (s *source) Size() int64                      { return s.file.Size() }
func (s *source) Settled() bool                    { return s.settled }
func (s *source) Submit(reqs []*transport.Request) { s.file.Submit(reqs) }

func (n *fileNode) key() cache.FileKey {
	return cache.FileKey{Dataset: n.ds.index, Ino: n.ino, Version: n.attr.Version}
}

func newHandle(n *fileNode, f *remote.File) *handle {
	settled, _ := f.Settled()
	h := &handle{n: n, pins: make(map[uint64]pinned), src: source{file: f, settled: settled, key: n.key()}}
	f.OnStale(n.changed)
	return h
}

// changed drops what the cache and the kernel hold of a version that is no more.
// A writer waits for it, so it must not wait for the kernel.
func (n *fileNode) changed() {
	n.t.cfg.Cache.Forget(n.key())
	n.t.forgetName(n)
}

// Read is a plain read: a host copy straight from the target, past the cache.
func (h *handle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	buf, err := patient(ctx, func(ctx context.Context) (*remote.Buffer, error) {
		return h.src.file.Read(ctx, off, len(dest))
	})
	if err != nil {
		return nil, h.n.t.errno("read", h.n.at(), err)
	}
	h.n.t.count.plainReads.Add(1)
	h.n.t.count.plainBytes.Add(int64(len(buf.Bytes())))
	if len(buf.Bytes()) == 0 {
		buf.Release()
		return fuse.ReadResultData(nil), 0
	}
	r := readResults.Get().(*readResult)
	r.buf, r.slices[0] = buf, buf.Bytes()
	return r, 0
}

// Release runs when the last descriptor of the open file is closed, also by
// death.
func (h *handle) Release(context.Context) syscall.Errno {
	h.releaseAll()
	h.src.file.Close()
	return 0
}

var readResults = sync.Pool{New: func() any { return new(readResult) }}

// readResult lends a transfer's buffer to go-fuse until the reply is written.
// That takes Slices: with a result that has none, go-fuse calls Done first.
type readResult struct {
	buf    *remote.Buffer
	slices [1][]byte // of buf
}

func (r *readResult) Bytes([]byte) ([]byte, fuse.Status) { return r.slices[0], fuse.OK }
func (r *readResult) Slices() ([][]byte, fuse.Status)    { return r.slices[:], fuse.OK }
func (r *readResult) Size() int                          { return len(r.slices[0]) }

func (r *readResult) Done() {
	r.buf.Release()
	*r = readResult{}
	readResults.Put(r)
}
