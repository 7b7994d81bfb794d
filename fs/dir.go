package fs

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/fs/ctl"
	"hbmfs/fs/handles"
	"hbmfs/fs/ring"
	"hbmfs/fs/uapi"
	"hbmfs/remote/namespace"
	"hbmfs/transport"
)

// rootTimeout is how long the attributes of the mount's root may take to come,
// before those that came last have to do. The way to the control socket leads
// through the root, and must stay open while the target is away, or the root is
// gone there. It is less for one that is known to be away.
const (
	rootTimeout = time.Second
	awayTimeout = 100 * time.Millisecond
)

// dirNode is a directory of a dataset.
type dirNode struct {
	node
	last    atomic.Pointer[namespace.Attr] // of a dataset's top: what the target said last
	habits  habits
	fetcher atomic.Pointer[transport.Domain] // whose fetches are a habit: the last one's
}

// Getattr asks the target: a directory's attributes change under its node. The
// top of a dataset is whichever directory the export leads to.
func (n *dirNode) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	stat := n.stat
	if n.IsRoot() {
		stat = n.statRoot
	}
	a, err := retryInterrupted(ctx, stat)
	if err != nil {
		return n.t.errno("stat", n.at(), err)
	}
	if n != n.ds.top && n.t.ino(n.ds, &a) != n.StableAttr().Ino {
		return syscall.ESTALE // another directory has taken its name
	}
	fillAttr(&out.Attr, &a, n.StableAttr().Ino)
	out.SetTimeout(n.t.nameTimeout())
	return 0
}

func (n *dirNode) stat(ctx context.Context) (namespace.Attr, error) {
	return n.t.target.Stat(ctx, n.ds.Name, n.at())
}

// statRoot is stat that waits for rootTimeout at most, and takes the root for
// what it was while the target has none.
func (n *dirNode) statRoot(ctx context.Context) (namespace.Attr, error) {
	timeout := rootTimeout
	if n.t.target.IsAway() {
		timeout = awayTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a, err := n.stat(ctx)
	switch {
	case err == nil:
		n.last.Store(&a)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, transport.ErrStale), errors.Is(err, syscall.ENOENT):
		if last := n.last.Load(); last != nil {
			return *last, nil
		}
	}
	return a, err
}

// Lookup asks the target for one name.
func (n *dirNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if n.IsRoot() && name == ctl.DirName {
		return n.t.ctlDir.attach(ctx, &n.Inode, out), 0
	}
	path := join(n.at(), name)
	var f File
	var expected bool
	a, err := retryInterrupted(ctx, func(ctx context.Context) (a namespace.Attr, err error) {
		a, f, expected, err = n.find(ctx, path)
		return a, err
	})
	if name == ctl.DirName && errors.Is(err, syscall.ENOENT) {
		return n.t.ctlDir.alias(ctx, &n.Inode, out), 0
	}
	if err != nil {
		return nil, n.t.errno("lookup", path, err)
	}
	child := n.addChild(ctx, &a, 0, out)
	n.t.foundNow(ctx, child, path, f, expected, out)
	return child, 0
}

// OpendirHandle opens the directory; it is listed at the first readdir.
func (n *dirNode) OpendirHandle(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return &dirHandle{n: n}, 0, 0
}

// Ioctl answers INFO, BATCH and RING_FILE, and RELEASE of what BATCH pinned; the others
// want a file.
func (n *dirNode) Ioctl(ctx context.Context, f fusefs.FileHandle, cmd uint32, _ uint64, in, out []byte) (int32, syscall.Errno) {
	h, ok := f.(*dirHandle)
	var err error
	switch nr := uapi.IocNr(cmd); {
	case ok && nr == uapi.NrBatch:
		err = h.ioctlBatch(ctx, cmd, in, out)
	case ok && nr == uapi.NrRelease:
		err = ioctlRelease(&h.pins, cmd, in, out)
	case ok && nr == uapi.NrRingFile:
		err = n.t.ioctlRing(ctx, &h.rings, cmd, in, out, func(r *ring.Ring) ring.File { return &ringDir{h, ringCaller(r), r.Owner} })
	default:
		return n.t.ioctlDir(cmd, in, out)
	}
	if err != nil {
		return 0, n.t.errno("ioctl", n.at(), err)
	}
	return 0, 0
}

// dirHandle is an open directory: its whole listing, as of the first readdir or
// the last rewind. go-fuse calls it from one goroutine at a time, but for ioctls.
type dirHandle struct {
	n       *dirNode
	loaded  bool
	entries []namespace.Entry
	age     time.Duration // of entries, when they came
	next    int           // 0 and 1 are "." and ".."
	pins    handles.Table
	rings   ring.Registered
}

// Readdirent returns the next entry, or nil at the end.
func (h *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if !h.loaded {
		if errno := h.load(ctx); errno != 0 {
			return nil, errno
		}
	}
	i := h.next
	if i >= len(h.entries)+2 {
		return nil, 0
	}
	h.next++
	de := &fuse.DirEntry{Off: uint64(h.next), Mode: syscall.S_IFDIR, Ino: h.n.StableAttr().Ino}
	switch i {
	case 0:
		de.Name = "."
	case 1:
		de.Name = ".."
	default:
		e := &h.entries[i-2]
		de.Name, de.Mode, de.Ino = e.Name, e.Attr.Mode, h.n.t.ino(h.n.ds, &e.Attr)
	}
	return de, 0
}

func (h *dirHandle) load(ctx context.Context) syscall.Errno {
	entries, age, err := h.n.t.target.List(ctx, h.n.ds.Name, h.n.at())
	if errors.Is(err, syscall.ENOENT) {
		return syscall.ESTALE // ENOENT is the end of a directory to readdir(3): it would look empty
	}
	if err != nil {
		return h.n.t.errno("readdir", h.n.at(), err)
	}
	if h.n.IsRoot() {
		// The target refuses a dataset that has the name, but may get it later.
		entries = slices.DeleteFunc(entries, func(e namespace.Entry) bool { return e.Name == ctl.DirName })
	}
	h.entries, h.age, h.loaded = entries, age, true
	return 0
}

// Seekdir moves to an offset that Readdirent gave, perhaps of another handle. A
// rewind lists anew.
func (h *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	switch {
	case off == 0:
		h.loaded = false
	case !h.loaded:
		if errno := h.load(ctx); errno != 0 {
			return errno
		}
	}
	h.next = int(min(off, uint64(len(h.entries)+2)))
	return 0
}

// Lookup answers READDIRPLUS from the listing. The name is the last or nearly
// the last that Readdirent returned.
func (h *dirHandle) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	for i := min(h.next, len(h.entries)+2) - 1; i >= 2; i-- {
		if e := &h.entries[i-2]; e.Name == name {
			child := h.n.addChild(ctx, &e.Attr, h.age, out)
			h.n.t.believed(child, out)
			return child, 0
		}
	}
	return nil, syscall.ENOENT
}

// Releasedir drops the listing, and what batches pinned.
func (h *dirHandle) Releasedir(context.Context, uint32) {
	h.entries = nil
	h.rings.Close()
	h.pins.ReleaseAll()
}
