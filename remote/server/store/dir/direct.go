package dir

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
	align int // of offset and length, in bytes; a power of two, or 0: no direct I/O
	reads atomic.Int64

	mu sync.Mutex
	fd int // 0: none yet
}

// fillDirect reads as much of the beginning of dst as can be read directly. It
// returns how much that was, which is nothing if dst is not aligned as the file
// system wants it; what goes wrong is left to the ordinary read.
func (f *file) fillDirect(off int64, dst []byte) int {
	d := &f.direct
	d.once.Do(func() { d.align = directAlign(f.fd) })
	if d.align == 0 || off&int64(d.align-1) != 0 {
		return 0
	}
	fd := d.open(f)
	if fd == 0 {
		return 0
	}
	n, err := unix.Pread(fd, dst[:len(dst)&^(d.align-1)], off)
	if err != nil {
		return 0
	}
	d.reads.Add(1)
	return n
}

// directAlign is what offset and length of direct reads must be multiples of, in
// bytes; 0 if the file can't be read directly.
func directAlign(fd int) int {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 || bits.OnesCount32(st.Dio_offset_align) != 1 {
		return 0
	}
	return int(st.Dio_offset_align)
}

// open returns a descriptor for direct reads, or 0 if there are none left for
// that now.
func (d *directFile) open(f *file) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd != 0 || !f.files.reserveBeside() {
		return d.fd
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(f.fd), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		f.files.beside.Add(-1)
		return 0
	}
	d.fd = fd
	return fd
}

// close is called once nothing reads.
func (d *directFile) close(t *Files) {
	if d.fd != 0 {
		unix.Close(d.fd)
		t.beside.Add(-1)
	}
}
