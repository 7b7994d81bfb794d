package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

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
func (n *dirNode) find(ctx context.Context, path string) (a namespace.Attr, f File, expected bool, err error) {
	v, kept := n.t.target.Keeps(n.ds.Name, path)
	thread := threadOf(ctx)
	expected = n.habits.opens.Asks() && thread != 0
	if !expected || kept || n.t.found.Holds(thread) {
		a, err = n.t.target.Stat(ctx, n.ds.Name, path)
		if err != nil || !expected || !kept || a.Version == v {
			return a, nil, expected, err
		}
	}
	f, err = n.t.openAt(ctx, n.ds.Name, path, nil)
	if err == nil {
		return f.Attr(), f, expected, nil
	}
	if isNoFile(err) {
		a, err = n.t.target.Stat(ctx, n.ds.Name, path)
	}
	return a, nil, expected, err
}

// isNoFile reports whether an open failed because of what the name leads to, or for want
// of room: it may still be looked at.
func isNoFile(err error) bool {
	for _, e := range []error{
		syscall.EISDIR, syscall.ELOOP, syscall.ENXIO, syscall.EACCES, syscall.EPERM,
		syscall.ENFILE, transport.ErrStale,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// foundNow is told of a name that was just looked up at the target, and of the file if
// that was opened. If the file is open there and expected to be opened, the kernel is
// not to believe the name, so that the open looks it up as well; unless the target has
// delegated the name, and neither costs a message. A file with several names is looked up
// all the same: its node is at the one that was looked up last, and an open by another
// that the kernel believes would ask for that one only.
func (t *tree) foundNow(ctx context.Context, child *fusefs.Inode, path string, f File, expected bool, out *fuse.EntryOut) {
	n, ok := child.Operations().(*fileNode)
	switch {
	case !ok && f != nil:
		f.Close()
		return
	case !ok:
		return
	case t.vouchedFor():
		if f != nil {
			t.found.Put(threadOf(ctx), n.key(), f)
		}
		return
	}
	kept, ok := t.target.Keeps(n.ds.Name, path)
	switch {
	case f == nil && ok && n.attr.Nlink <= 1 && t.target.Delegated(n.ds.Name, path):
		t.believed(child, out)
		return
	case f != nil, expected && ok && kept == n.attr.Version:
		t.found.Put(threadOf(ctx), n.key(), f)
	case !t.found.Again(threadOf(ctx), n.key()):
		t.believed(child, out)
		return
	}
	out.SetEntryTimeout(0)
}

// believed notes until when the kernel may believe a name of a file.
func (t *tree) believed(child *fusefs.Inode, out *fuse.EntryOut) {
	if id := child.StableAttr(); id.Mode == syscall.S_IFREG {
		t.beliefs.Add(id.Ino, time.Since(t.started)+out.EntryTimeout())
	}
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
	f, at, found := n.t.found.Take(threadOf(ctx), n.key())
	found = found && n.t.beliefs.Ended(n.ino, at.Sub(n.t.started)) || n.t.vouchedFor()
	if f == nil && found {
		f, _ = n.t.reopen(n.ds.Name, n.at(), n.attr.Version)
	}
	if f != nil {
		if found && n.t.isNow(ctx, f) {
			return f, nil
		}
		f.Close()
	}
	return retryInterrupted(ctx, func(ctx context.Context) (File, error) {
		return n.t.openAt(ctx, n.ds.Name, n.at(), &n.attr.Version)
	})
}

// isNow reports whether a file that nobody has asked for just now, but whose name may be
// believed, is still the version at the target.
func (t *tree) isNow(ctx context.Context, f File) bool {
	if t.vouchedFor() && t.target.TermLeft() <= 0 {
		return f.Vouch(ctx, t.target.Now()) == nil
	}
	return !f.Stale()
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

// prefetch begins to fetch a file that was just opened, where its user fetches such
// files whole. Its bytes are in memory of all who are that user: so his number alone
// must let him read the file, whatever let him open it.
func (h *handle) prefetch(ctx context.Context) {
	dir := h.n.dir()
	caller, ok := fuse.FromContext(ctx)
	if !ok || dir == nil || !h.src.settled || h.src.Size() > h.n.t.cfg.Extent || !mayRead(caller.Uid, &h.n.attr) {
		return
	}
	last := dir.fetcher.Load()
	if last == nil || last.UID != caller.Uid || !dir.habits.fetches.Asks() {
		return
	}
	h.n.t.cfg.Cache.Prefetch(ctx, &h.src, *last, 0, h.src.Size())
}

// mayRead reports whether every process of a user may read a file that one of them
// could open.
func mayRead(uid uint32, a *namespace.Attr) bool {
	switch uid {
	case 0:
		return true
	case a.UID:
		return a.Mode&0o400 != 0
	}
	return a.Mode&0o004 != 0
}

// fetched is told of the first FETCH of an open file.
func (h *handle) fetched(dom transport.Domain, f *uapi.Fetch) {
	dir := h.n.dir()
	if f.Offset > 0 || int64(f.Length) < h.src.Size() || dir == nil {
		return
	}
	if last := dir.fetcher.Load(); last == nil || *last != dom {
		dir.fetcher.Store(&dom)
	}
	dir.habits.fetches.Came()
}
