package dir

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// guard is how a read finds out that its file changed.
type guard uint8

const (
	// guardLease: a read lease is held; a writer breaks it before it can write.
	guardLease guard = iota
	// guardStat: only size and times are compared, which misses some changes.
	guardStat
	// guardReadOnly: the block device is read-only, and counts its writes.
	guardReadOnly
)

// file is one version of a file, open for reading. Sessions share it.
type file struct {
	fd       int // closed with the last reference
	counters int // a block device's I/O counters, or -1
	version  transport.Version
	size     int64
	stamp    stamp
	guard    guard
	why      string // guardStat: why there is no lease
	direct   directFile

	files  *Files
	refs   atomic.Int64
	stale  atomic.Bool // never goes back
	blocks atomic.Bool // the file system can't say whether a read would wait

	mu      sync.Mutex
	holders map[*object]struct{} // nil once the file is stale
}

// stamp is what tells that a file changed, where a guard can miss that.
type stamp struct {
	size         int64
	mtime, ctime unix.Timespec
	disk, writes uint64 // of a block device
}

func (f *file) stampNow() (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return stamp{}, os.NewSyscallError("fstat", err)
	}
	now := stamp{size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
	if f.counters < 0 {
		return now, nil
	}
	var err error
	now.disk = diskSequence(f.fd)
	now.writes, err = readWrites(f.counters)
	return now, err
}

// settled reports whether a change can't go unnoticed.
func (f *file) settled() bool { return f.guard != guardStat }

// acquire takes a reference, unless the last one is gone already.
func (f *file) acquire() bool {
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

// expire marks the file as changed and returns whom to tell.
func (f *file) expire() map[*object]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale.Store(true)
	told := f.holders
	f.holders = nil
	return told
}

// TryRead implements [store.Object].
func (f *file) TryRead(off int64, dst []byte) error {
	if err := f.checkRead(off, dst); err != nil {
		return err
	}
	n, err := f.fillNow(off, dst)
	if err == transport.ErrWouldBlock {
		return err
	}
	return f.judge(off, dst, n, err)
}

// Read implements [store.Object].
func (f *file) Read(ctx context.Context, off int64, dst []byte) error {
	if err := f.checkRead(off, dst); err != nil {
		return err
	}
	n, err := f.fill(ctx, off, dst)
	return f.judge(off, dst, n, err)
}

// checkRead returns why nothing need be read.
func (f *file) checkRead(off int64, dst []byte) error {
	if off < 0 || off > f.size-int64(len(dst)) {
		return fmt.Errorf("%w: %d bytes at %d of a file of %d", transport.ErrRange, len(dst), off, f.size)
	}
	if f.guard == guardStat && !f.unchanged() {
		return f.changed()
	}
	return nil
}

// judge returns nil if what was just read, n bytes of dst from off, is all of it,
// and this version's.
func (f *file) judge(off int64, dst []byte, n int, err error) error {
	if !f.unchanged() {
		return f.changed()
	}
	if err != nil {
		return fmt.Errorf("%w: %d bytes at %d: %w", transport.ErrSource, len(dst), off, err)
	}
	if n < len(dst) {
		return f.changed()
	}
	return nil
}

// unchanged reports whether every byte read before the call is of this version.
// A lease alone does not tell: open(O_RDONLY|O_TRUNC) leaves it as it is. Nor
// does a device that is read-only, which it may not have been for a while.
func (f *file) unchanged() bool {
	if f.stale.Load() || !f.guarded() {
		return false
	}
	now, err := f.stampNow()
	if f.settled() {
		now.ctime = f.stamp.ctime // new attributes leave the bytes as they are
	}
	return err == nil && now == f.stamp
}

// guarded reports whether writers are still kept away.
func (f *file) guarded() bool {
	switch f.guard {
	case guardLease:
		kind, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETLEASE, 0)
		return err == nil && kind == unix.F_RDLCK
	case guardReadOnly:
		return checkReadOnly(f.fd) == nil
	}
	return true
}

// Linked implements [store.Linked].
func (f *file) Linked() bool {
	var st unix.Stat_t
	return unix.Fstat(f.fd, &st) != nil || st.Nlink > 0
}

// close ends the lease.
func (f *file) close() {
	f.direct.close(f.files)
	for _, fd := range [...]int{f.fd, f.counters} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (f *file) changed() error {
	f.stale.Store(true)
	if f.settled() {
		f.files.watch.look()
	}
	return fmt.Errorf("%w while it was open", transport.ErrStale)
}
