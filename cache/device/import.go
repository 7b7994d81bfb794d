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
	if err != nil {
		return r, own, refuse("mmap: %w; it must be open for reading and writing, and not sealed against writing", err)
	}
	r.mem = r.mapped[skip:]
	return r, own, nil
}
