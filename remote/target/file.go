package target

import (
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

// openFile is one version of a file, open for reading. Sessions share it.
type openFile struct {
	fd       int // closed with the last reference
	counters int // a block device's I/O counters, or -1
	version  transport.Version
	size     int64
	stamp    stamp
	guard    guard
	why      string // guardStat: why there is no lease
	direct   directFile

	table  *fileTable
	refs   atomic.Int64
	stale  atomic.Bool // never goes back
	blocks atomic.Bool // the file system can't say whether a read would wait

	mu      sync.Mutex
	holders map[holder]struct{} // nil once the file is stale
}

// holder is a session's handle of a file.
type holder struct {
	session *session
	handle  uint64
}

// stamp is what tells that a file changed, where a guard can miss that.
type stamp struct {
	size, mtimeNs, ctimeNs int64
	disk, writes           uint64 // of a block device
}

func (f *openFile) stampNow() (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return stamp{}, os.NewSyscallError("fstat", err)
	}
	now := stamp{size: st.Size, mtimeNs: st.Mtim.Nano(), ctimeNs: st.Ctim.Nano()}
	if f.counters < 0 {
		return now, nil
	}
	var err error
	now.disk = diskSequence(f.fd)
	now.writes, err = readWrites(f.counters)
	return now, err
}

// settled reports whether a change can't go unnoticed.
func (f *openFile) settled() bool { return f.guard != guardStat }

// acquire takes a reference, unless the last one is gone already.
func (f *openFile) acquire() bool {
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

// hold registers whom to tell when the file changes. It returns false if it has
// changed already.
func (f *openFile) hold(h holder) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stale.Load() {
		return false
	}
	if f.holders == nil {
		f.holders = make(map[holder]struct{})
	}
	f.holders[h] = struct{}{}
	return true
}

func (f *openFile) unhold(h holder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.holders, h)
}

// expire marks the file as changed and returns whom to tell.
func (f *openFile) expire() map[holder]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale.Store(true)
	told := f.holders
	f.holders = nil
	return told
}

// read fills dst with this version's bytes from off; see [transport.Source].
func (f *openFile) read(off int64, dst []byte, wait bool) error {
	if off < 0 || off > f.size-int64(len(dst)) {
		return fmt.Errorf("%w: %d bytes at %d of a file of %d", transport.ErrRange, len(dst), off, f.size)
	}
	if f.guard == guardStat && !f.unchanged() {
		return f.changed()
	}
	n, err := f.fill(off, dst, wait)
	if err == transport.ErrWouldBlock {
		return err
	}
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
func (f *openFile) unchanged() bool {
	if f.stale.Load() || !f.guarded() {
		return false
	}
	now, err := f.stampNow()
	if f.settled() {
		now.ctimeNs = f.stamp.ctimeNs // new attributes leave the bytes as they are
	}
	return err == nil && now == f.stamp
}

// guarded reports whether writers are still kept away.
func (f *openFile) guarded() bool {
	switch f.guard {
	case guardLease:
		kind, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETLEASE, 0)
		return err == nil && kind == unix.F_RDLCK
	case guardReadOnly:
		return checkReadOnly(f.fd) == nil
	}
	return true
}

// close ends the lease.
func (f *openFile) close() {
	f.direct.close(f.table)
	for _, fd := range [...]int{f.fd, f.counters} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (f *openFile) changed() error {
	f.stale.Store(true)
	if f.settled() {
		leases.look()
	}
	return fmt.Errorf("%w while it was open", transport.ErrStale)
}

func (f *openFile) fill(off int64, dst []byte, wait bool) (int, error) {
	if !wait {
		return f.fillNow(off, dst)
	}
	if len(dst) < directMin {
		return f.fillWait(off, dst, 0)
	}
	if n, err := f.fillNow(off, dst); err != transport.ErrWouldBlock {
		return n, err
	}
	done := 0
	if !f.blocks.Load() { // then it is not in memory
		done = f.fillDirect(off, dst)
	}
	return f.fillWait(off, dst, done)
}

// fillWait reads on from done.
func (f *openFile) fillWait(off int64, dst []byte, done int) (int, error) {
	for {
		if done == len(dst) {
			return done, nil
		}
		n, err := unix.Pread(f.fd, dst[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, err
		case n == 0:
			return done, nil
		default:
			done += n
		}
	}
}

// fillNow reads what is in memory, all of it or nothing.
func (f *openFile) fillNow(off int64, dst []byte) (int, error) {
	if f.blocks.Load() {
		return 0, transport.ErrWouldBlock
	}
	n, err := preadNow(f.fd, dst, off)
	switch {
	case err == unix.EOPNOTSUPP || err == unix.ENOSYS || err == unix.EINVAL:
		f.blocks.Store(true)
		return 0, transport.ErrWouldBlock
	case err == unix.EAGAIN || err == unix.EINTR || err == nil && n < len(dst):
		return 0, transport.ErrWouldBlock
	}
	return n, err
}

func preadNow(fd int, dst []byte, off int64) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	iov := [1][]byte{dst}
	return unix.Preadv2(fd, iov[:], off, unix.RWF_NOWAIT)
}
