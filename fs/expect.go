package fs

import (
	"context"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/fs/lookups"
	"hbmfs/fs/uapi"
	"hbmfs/remote/namespace"
	"hbmfs/transport"
)

// habits are what programs do with the files of a directory.
type habits struct {
	opens   lookups.Habit // after a lookup
	fetches lookups.Habit // of all of the file, after an open
}

// find returns what a name leads to now. Where it is expected to be opened next, that
// is done by the same message.
func (n *dirNode) find(ctx context.Context, path string) (namespace.Attr, File, error) {
	if _, kept := n.t.target.Keeps(n.ds.Name, path); n.habits.opens.Asks() && !kept {
		f, err := n.t.openAt(ctx, n.ds.Name, path, nil)
		if err == nil {
			return f.Attr(), f, nil
		}
	}
	a, err := n.t.target.Stat(ctx, n.ds.Name, path)
	return a, nil, err
}

// foundNow is told of a name that was just looked up at the target, and of the file if
// that was opened. If it is open there, the kernel is not to believe the name, so that
// the next open looks it up as well.
func (t *tree) foundNow(ctx context.Context, child *fusefs.Inode, path string, f File, out *fuse.EntryOut) {
	n, ok := child.Operations().(*fileNode)
	if !ok {
		if f != nil {
			f.Close()
		}
		return
	}
	kept, ok := t.target.Keeps(n.ds.Name, path)
	if f == nil && (t.vouchedFor() || !ok || kept != n.attr.Version) {
		return
	}
	if !t.vouchedFor() {
		out.SetEntryTimeout(0)
	}
	t.found.Put(threadOf(ctx), n.key(), f)
}

// vouchedFor reports whether the user vouches for names.
func (t *tree) vouchedFor() bool { return t.cfg.NameTimeout >= nameTimeout }

// threadOf is the calling thread's number; 0 if it is not known here: it is of a PID
// name space that is not below the mount's.
func threadOf(ctx context.Context) uint32 {
	if caller, ok := fuse.FromContext(ctx); ok {
		return caller.Pid
	}
	return 0
}

// open asks nothing of the target where the version is open there and the name has led
// to it since the caller's open began, or as the user vouches.
func (n *fileNode) open(ctx context.Context) (File, error) {
	if dir := n.dir(); dir != nil {
		dir.habits.opens.Came()
	}
	f, found := n.t.found.Take(threadOf(ctx), n.key())
	if f != nil && !f.Stale() {
		return f, nil
	}
	if f != nil {
		f.Close()
	}
	if found || n.t.vouchedFor() {
		if f, ok := n.t.reopen(n.ds.Name, n.at(), n.attr.Version); ok {
			return f, nil
		}
	}
	return retryInterrupted(ctx, func(ctx context.Context) (File, error) {
		return n.t.openAt(ctx, n.ds.Name, n.at(), &n.attr.Version)
	})
}

// dir is the directory that the file was last looked up in; nil: it has no name.
func (n *fileNode) dir() *dirNode {
	_, parent := n.Parent()
	if parent == nil {
		return nil
	}
	dir, _ := parent.Operations().(*dirNode)
	return dir
}

// prefetch begins to fetch a file that was just opened, where programs fetch such
// files whole. It is after the kernel has let the user open the file: its bytes are in
// memory of his.
func (h *handle) prefetch(ctx context.Context) {
	dir := h.n.dir()
	caller, ok := fuse.FromContext(ctx)
	if !ok || dir == nil || !h.src.settled || h.src.Size() > h.n.t.cfg.Extent || !dir.habits.fetches.Asks() {
		return
	}
	dom := transport.Domain{UID: caller.Uid, Device: dir.device.Load()}
	h.n.t.cfg.Cache.Prefetch(ctx, &h.src, dom, 0, h.src.Size())
}

// fetched is told of the first FETCH of an open file.
func (h *handle) fetched(f *uapi.Fetch) {
	if f.Offset > 0 || int64(f.Length) < h.src.Size() {
		return
	}
	if dir := h.n.dir(); dir != nil {
		dir.device.Store(f.Device)
		dir.habits.fetches.Came()
	}
}
