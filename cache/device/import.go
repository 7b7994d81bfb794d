package device

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// ErrImport: memory that an application made can't be taken. It is of another kind
// than the provider's, is too short, can't be written, or could be cut off while it
// is in use.
var ErrImport = errors.New("memory can't be imported")

// Why it can't be taken, beside what range it has. Each comes with [ErrImport].
var (
	// ErrKind: the descriptor is of nothing that the device can take.
	ErrKind = errors.New("it is no memory that this device takes")
	// ErrAccess: it can't be written, or lacks F_SEAL_SHRINK.
	ErrAccess = errors.New("it can't be written for as long as it is in use")
	// ErrHoles: pages are missing, which would be the importer's charge if they were
	// touched, or its end if there is no memory for them.
	ErrHoles = errors.New("pages of it are not there")
)

// Importer is a [Provider] that takes memory which an application made.
type Importer interface {
	// Import makes bytes [off, off+size) of what fd refers to a destination of the
	// domain's. fd stays the caller's, who may close it at once. The error wraps
	// [ErrImport], or the kernel's errno; with an error nothing is kept.
	Import(dom transport.Domain, fd int, off, size int64) (Buffer, error)
}

// Buffer is memory that an application made. What is written to it is seen by
// whoever else has it, at any time.
type Buffer interface {
	transport.Memory
	// CheckPages returns an error wrapping [ErrHoles] unless all pages of bytes
	// [off, off+n) are there. Who made the memory may take them away at any time.
	CheckPages(off, n int64) error
	// Close gives up what Import took; the memory stays the application's. No
	// device may write it by way of the buffer any more. A second call does
	// nothing.
	Close() error
}

// ImporterOf returns a provider's power to import, if it has that.
func ImporterOf(p Provider) (Importer, bool) {
	if b, ok := p.(bounded); ok {
		p = b.Provider // what is imported exists already
	}
	i, ok := p.(Importer)
	return i, ok
}

// Import is [Importer.Import] for a device of provider p, of memory of the kind that fd
// is. Where the CPU addresses p's memory, p takes what stands in for a device's as well.
func Import(p Provider, dom transport.Domain, fd int, off, size int64) (Buffer, error) {
	i, ok := ImporterOf(p)
	switch {
	case p.CPU() && isDMABuf(fd):
		i = udmabuf{}
	case p.CPU():
		i = memfd{}
	case !ok:
		return nil, fmt.Errorf("%s: import: %w", p.Name(), refuse("%w", ErrKind))
	}
	return i.Import(dom, fd, off, size)
}

// refuse is an error that wraps [ErrImport].
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrImport, fmt.Errorf(format, args...))
}

// checkRange refuses a range that memory of have bytes does not hold.
func checkRange(off, size, have int64) error {
	if off < 0 || size <= 0 || size > have-off {
		return refuse("it has %d bytes, which do not hold %d at %d", have, size, off)
	}
	return nil
}

// importMapping takes a descriptor of its own and maps the range, from the start of
// the page that it begins in. With an error the region is still to be closed.
func importMapping(provider string, dom transport.Domain, fd int, off, size int64) (r *region, own int, err error) {
	r = emptyRegion(provider, dom, size)
	if own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return r, -1, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	skip := off % int64(os.Getpagesize())
	if size > math.MaxInt-skip {
		return r, own, refuse("%d bytes are more than this process can map", size)
	}
	r.mapped, err = unix.Mmap(own, off-skip, int(skip+size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return r, own, refuse("%w: mmap: %w; it must be open for reading and writing, and not sealed against writing", ErrAccess, err)
	}
	if err != nil {
		return r, own, os.NewSyscallError("mmap", err)
	}
	r.mem, r.start = r.mapped[skip:], off
	return r, own, nil
}

// CheckPages finds none missing in a dma-buf, which has them pinned.
func (r *region) CheckPages(off, n int64) error {
	if r.dmabuf >= 0 || n <= 0 {
		return nil
	}
	// cachestat(2) counts pages that are there whether or not anybody has written to them;
	// those that are swapped out are "evicted".
	var there unix.Cachestat_t
	page, from := int64(os.Getpagesize()), r.start+off
	err := unix.Cachestat(uint(r.fd), &unix.CachestatRange{Off: uint64(from), Len: uint64(n)}, &there, 0)
	switch missing := (from+n-1)/page - from/page + 1 - int64(there.Cache+there.Evicted); {
	case errors.Is(err, unix.ENOSYS):
		return r.checkBlocks(off, n)
	case err != nil:
		return os.NewSyscallError("cachestat", err)
	case missing > 0:
		return refuse("%w: %d of %d bytes at %d; allocate them (fallocate), or write to them", ErrHoles, missing*page, n, from)
	}
	return nil
}

// checkBlocks is CheckPages before Linux 6.5. Of a file that has as many pages as bytes
// there is no need to look where they are; else what was allocated, and never written,
// looks like a hole.
func (r *region) checkBlocks(off, n int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(r.fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if page := int64(os.Getpagesize()); st.Blocks*512 >= (st.Size+page-1)&^(page-1) {
		return nil
	}
	return checkHoles(r.fd, r.start+off, n)
}

// checkHoles looks by a description of its own, since lseek moves the position in one.
func checkHoles(fd int, off, n int64) error {
	f, err := os.Open(fmt.Sprint("/proc/self/fd/", fd))
	if err != nil {
		return err
	}
	defer f.Close()
	switch hole, err := unix.Seek(int(f.Fd()), off, unix.SEEK_HOLE); {
	case err != nil:
		return os.NewSyscallError("lseek SEEK_HOLE", err)
	case hole < off+n:
		return refuse("%w: there is a hole at %d; allocate it (fallocate), or write to it", ErrHoles, hole)
	}
	return nil
}
