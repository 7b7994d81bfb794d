package target

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// ackTimeout bounds how long a writer waits for mounts to be told.
const ackTimeout = 500 * time.Millisecond

// fileTable holds the files that a target has open. A settled version is open
// once, however many sessions have it.
type fileTable struct {
	log    *slog.Logger
	budget int64        // of files that may be open
	opened atomic.Int64 // files that are
	direct atomic.Int64 // descriptors beside theirs, for direct I/O

	mu       sync.Mutex
	shared   map[transport.Version]*openFile
	revoking sync.WaitGroup // counts files
}

func newFileTable(log *slog.Logger) *fileTable {
	return &fileTable{log: log, budget: fileBudget(), shared: make(map[transport.Version]*openFile)}
}

// fileBudget leaves a quarter of this process's descriptors for sockets, calls
// under way, and direct I/O.
func fileBudget() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	most := int64(min(limit.Cur, math.MaxInt32))
	return most - most/4
}

// open opens the version of path that is there, and returns a reference.
func (t *fileTable) open(ctx context.Context, d *dataset, path []byte) (*openFile, *wire.Attr, error) {
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
func (t *fileTable) openNew(ctx context.Context, name int, device bool) (*openFile, *wire.Attr, error) {
	if t.opened.Add(1) > t.budget {
		t.opened.Add(-1)
		return nil, nil, fmt.Errorf("the target has %d files open, which is what its limit of descriptors allows: raise that (ulimit -n): %w", t.budget, unix.EMFILE)
	}
	f := &openFile{fd: -1, counters: -1, table: t}
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

// reserveDirect counts a second descriptor of a file, for which there is a sixth
// of what files may have: see [fileBudget].
func (t *fileTable) reserveDirect() bool {
	if t.direct.Add(1) > t.budget/6 {
		t.direct.Add(-1)
		return false
	}
	return true
}

func (t *fileTable) close(f *openFile) {
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
func (t *fileTable) get(v transport.Version) *openFile {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.shared[v]; f != nil && !f.stale.Load() && f.acquire() {
		return f
	}
	return nil
}

// put makes f known, and returns it, or the one of its version that is known
// already in its place.
func (t *fileTable) put(f *openFile) *openFile {
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
	leases.add(f)
	if !f.unchanged() {
		leases.look() // broken before it was watched
	}
	return f
}

func (t *fileTable) forget(f *openFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shared[f.version] == f {
		delete(t.shared, f.version)
	}
}

// release gives a reference back. Closing the last one ends the lease.
func (t *fileTable) release(f *openFile) {
	if f.refs.Add(-1) > 0 {
		return
	}
	t.forget(f)
	if f.settled() {
		leases.remove(f)
	}
	t.close(f)
}

// notice is an event that was posted to a session.
type notice struct {
	session *session
	acked   <-chan struct{}
}

// revoke lets writers of files go on, once the mounts that have them open know
// or did not answer in time: those lose their session, so that they hold a
// writer once only. It takes over what [leaseWatch.takeBroken] gave.
func (t *fileTable) revoke(files []*openFile) {
	var notices []notice
	for _, f := range files {
		told := f.expire()
		t.forget(f)
		t.log.Debug("file changed", "version", f.version, "holders", len(told))
		for h := range told {
			notices = append(notices, notice{h.session, h.session.out.post(h.handle, "a writer opened it, or it was truncated")})
		}
	}
	go func() {
		defer t.revoking.Add(-len(files))
		silent := awaitAll(notices, ackTimeout)
		for _, f := range files {
			dropLease(f.fd)
			t.release(f)
		}
		for _, s := range silent {
			s.end("its mount does not acknowledge changes")
		}
	}()
}

// awaitAll waits until every notice is acknowledged, or the time-out. It returns
// the sessions that did not.
func awaitAll(notices []notice, timeout time.Duration) (silent []*session) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for _, n := range notices {
		select {
		case <-n.acked:
			continue
		case <-ctx.Done():
		}
		select {
		case <-n.acked:
		default:
			silent = append(silent, n.session)
		}
	}
	return silent
}
