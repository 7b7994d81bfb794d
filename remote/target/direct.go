package target

import (
	"math/bits"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// directMin is the smallest read, in bytes, that is worth going past the page
// cache for: smaller ones profit from the kernel's read-ahead.
const directMin = 128 << 10

// directFile reads a file's storage past the page cache, where its file system
// says by STATX_DIOALIGN that it can. Only what is not in memory is read that
// way, so that a dataset larger than memory does not push everything else out.
type directFile struct {
	once  sync.Once
	fd    int // -1: none
	align int // of offset and length, in bytes; a power of two
	reads atomic.Int64
}

// fillDirect reads as much of the beginning of dst as can be read directly. It
// returns how much that was, which is nothing if dst is not aligned as the file
// system wants it; what goes wrong is left to the ordinary read.
func (f *openFile) fillDirect(off int64, dst []byte) int {
	d := &f.direct
	if len(dst) < directMin {
		return 0
	}
	d.once.Do(func() { d.open(f) })
	if d.fd < 0 || off&int64(d.align-1) != 0 {
		return 0
	}
	n, err := unix.Pread(d.fd, dst[:len(dst)&^(d.align-1)], off)
	if err != nil {
		return 0
	}
	d.reads.Add(1)
	return n
}

// open leaves d without a descriptor if the file can't be read directly, or too
// many are open: each counts as an open file.
func (d *directFile) open(f *openFile) {
	d.fd = -1
	var st unix.Statx_t
	err := unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 || bits.OnesCount32(st.Dio_offset_align) != 1 {
		return // an offset alignment of 0: not by direct I/O
	}
	if !f.table.reserve() {
		return
	}
	d.align = int(st.Dio_offset_align)
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(f.fd), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		f.table.opened.Add(-1)
		return
	}
	d.fd = fd
}

// close is called once nothing reads.
func (d *directFile) close(t *fileTable) {
	d.once.Do(func() { d.fd = -1 })
	if d.fd >= 0 {
		unix.Close(d.fd)
		t.opened.Add(-1)
	}
}
