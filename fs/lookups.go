package fs

import (
	"context"
	"sync"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/cache"
)

// lookups are which version each thread has last found behind a name that it may be
// about to open. Where the kernel does not believe the name, an open(2) by path looks
// it up first, in the thread that then sends OPEN (fuse_dentry_revalidate in
// fs/fuse/dir.c): what it finds is what the name leads to while the call is under way,
// so that OPEN need not ask again.
type lookups [256]lookup

type lookup struct {
	mu     sync.Mutex
	thread uint32
	key    cache.FileKey
	at     time.Time
}

// lookupTrust is how old a lookup may be. OPEN follows it at once; but a thread may
// have looked the name up and then open the file by a way that needs no name
// (/proc/self/fd).
const lookupTrust = 5 * time.Millisecond

// foundNow is told of a name that was just looked up at the target. If that is of a
// file that is open there still, the kernel is not to believe the name, so that the
// next open looks it up as well.
func (t *tree) foundNow(ctx context.Context, child *fusefs.Inode, path string, out *fuse.EntryOut) {
	n, ok := child.Operations().(*fileNode)
	if !ok || t.cfg.NameTimeout >= nameTimeout || !t.target.Keeps(n.ds.Name, path, n.attr.Version) {
		return
	}
	out.SetEntryTimeout(0)
	t.found.put(ctx, n.key())
}

// of returns the calling thread's, locked. It is nil for one whose number is not known
// here: it is of a PID name space that is not below the mount's.
func (l *lookups) of(ctx context.Context) (found *lookup, thread uint32) {
	caller, ok := fuse.FromContext(ctx)
	if !ok || caller.Pid == 0 {
		return nil, 0
	}
	found = &l[caller.Pid%uint32(len(l))]
	found.mu.Lock()
	return found, caller.Pid
}

func (l *lookups) put(ctx context.Context, key cache.FileKey) {
	found, thread := l.of(ctx)
	if found == nil {
		return
	}
	defer found.mu.Unlock()
	found.thread, found.key, found.at = thread, key, time.Now()
}

// take reports whether the calling thread has just found that version, once.
func (l *lookups) take(ctx context.Context, key cache.FileKey) bool {
	found, thread := l.of(ctx)
	if found == nil {
		return false
	}
	defer found.mu.Unlock()
	if found.thread != thread || found.key != key || time.Since(found.at) > lookupTrust {
		return false
	}
	found.thread = 0
	return true
}
