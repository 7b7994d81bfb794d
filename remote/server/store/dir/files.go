package dir

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/server/store/dir/breaks"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Files are the files that a process serves: those that are open, and the watch
// over their t.watch. A settled version is open once, however many have it.
type Files struct {
	log    *slog.Logger
	watch  leaseWatch
	budget int64        // of files that may be open
	opened atomic.Int64 // files that are
	beside atomic.Int64 // descriptors beside theirs, for direct I/O and delegations
	names  *names

	mu       sync.Mutex
	shared   map[transport.Version]*file
	revoking sync.WaitGroup // counts files that writers wait for
}

// NewFiles refuses a host whose kernel does not leave leases for long enough.
// Files must be closed, after the last of their objects. log may be nil.
func NewFiles(log *slog.Logger) (*Files, error) { return newFilesOn(log, kernelDelegator{}) }

func newFilesOn(log *slog.Logger, kernel delegator) (*Files, error) {
	if err := breaks.CheckTime(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := &Files{log: log, budget: fileBudget(), shared: make(map[transport.Version]*file)}
	t.names = newNames(t, kernel)
	t.watch.names = t.names
	return t, t.watch.start()
}

// Close returns when no writer is held up any more.
func (t *Files) Close() {
	t.revoking.Wait()
	t.names.mounts.Stop()
	t.watch.stop()
}

// fileBudget leaves an eighth of this process's descriptors for calls under way
// and what is beside files. Who opens files is bounded by less, client by client: this is
// for none of them to meet.
func fileBudget() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	most := int64(min(limit.Cur, math.MaxInt32))
	return most - most/8
}

// Open implements [store.Tree].
func (d *tree) Open(ctx context.Context, path []byte) (store.Object, *wire.Attr, error) {
	f, attr, err := d.files.open(ctx, d, path)
	if err != nil {
		return nil, nil, err
	}
	return &object{file: f}, attr, nil
}

// open opens the version of path that is there, and returns a reference.
func (t *Files) open(ctx context.Context, d *tree, path []byte) (*file, *wire.Attr, error) {
	name, err := d.openPath(path)
	if err != nil {
		return nil, nil, os.NewSyscallError("openat2", err)
	}
	defer unix.Close(name)
	attr, err := d.attr(name)
	if err == nil {
		err = checkType(attr.Mode)
	}
	if err != nil {
		return nil, nil, err
	}
	if f := t.get(transport.Version(attr.Version)); f != nil {
		return f, attr, nil
	}
	f, attr, err := t.openNew(ctx, name, d.kind == wire.Dataset_BLOCK_DEVICE)
	if err != nil {
		return nil, nil, err
	}
	return t.put(f), attr, nil
}

// openNew opens the file or block device that name, an O_PATH descriptor, is of.
func (t *Files) openNew(ctx context.Context, name int, device bool) (*file, *wire.Attr, error) {
	if t.opened.Add(1) > t.budget {
		t.opened.Add(-1)
		return nil, nil, fmt.Errorf("the target has %d files open, which is what its limit of descriptors allows: raise that (ulimit -n): %w", t.budget, unix.EMFILE)
	}
	f := &file{fd: -1, counters: -1, files: t}
	f.refs.Store(1)
	attr, err := f.open(ctx, name, device)
	if err != nil {
		t.close(f)
		return nil, nil, err
	}
	f.version = transport.Version(attr.Version)
	f.size = int64(attr.Size)
	return f, attr, nil
}

// reserveBeside counts a second descriptor of a file, or one of a directory, for which
// there is a fourteenth of what files may have: see [fileBudget].
func (t *Files) reserveBeside() bool {
	if t.beside.Add(1) > t.budget/14 {
		t.beside.Add(-1)
		return false
	}
	return true
}

func (t *Files) close(f *file) {
	f.close()
	t.opened.Add(-1)
}

func checkType(mode uint32) error {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return unix.EISDIR
	case unix.S_IFLNK:
		return unix.ELOOP
	}
	return unix.ENXIO
}

// get returns a reference to the settled file of that version, or nil.
func (t *Files) get(v transport.Version) *file {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.shared[v]; f != nil && !f.stale.Load() && f.acquire() {
		return f
	}
	return nil
}

// put makes f known, and returns it, or the one of its version that is known
// already in its place.
func (t *Files) put(f *file) *file {
	if !f.settled() {
		return f
	}
	t.mu.Lock()
	if other := t.shared[f.version]; other != nil && !other.stale.Load() && other.acquire() {
		t.mu.Unlock()
		t.release(f)
		return other
	}
	t.shared[f.version] = f
	t.mu.Unlock()
	t.watch.add(f)
	if !f.unchanged() {
		t.watch.look() // broken before it was watched
	}
	return f
}

func (t *Files) forget(f *file) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shared[f.version] == f {
		delete(t.shared, f.version)
	}
}

// release gives a reference back. Closing the last one ends the lease.
func (t *Files) release(f *file) {
	if f.refs.Add(-1) > 0 {
		return
	}
	t.forget(f)
	if f.settled() {
		t.watch.remove(f)
	}
	t.close(f)
}

// revoke lets writers of files go on, once nobody who has them open vouches for
// them. It takes over what [leaseWatch.takeBroken] gave.
func (t *Files) revoke(files []*file) {
	var released []func()
	for _, f := range files {
		told := f.expire()
		t.forget(f)
		t.log.Debug("file changed", "version", f.version, "holders", len(told))
		for o := range told {
			released = append(released, o.holder.Revoke())
		}
	}
	go func() {
		defer t.revoking.Add(-len(files))
		for _, wait := range released {
			wait()
		}
		for _, f := range files {
			dropLease(f.fd)
			t.release(f)
		}
	}()
}
