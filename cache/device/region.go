package device

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// region is a mapped memfd, and perhaps a dma-buf of it. It is the one owner of
// its descriptors and its mapping.
type region struct {
	provider string
	dom      transport.Domain
	size     int64
	fd       int    // of the memfd; -1: none
	dmabuf   int    // -1: none
	start    int64  // of the region in its dma-buf, or in an application's memfd
	mem      []byte // perhaps less than what is mapped
	mapped   []byte
	alarm    runtime.Cleanup
	closed   atomic.Bool
	revoke   sync.Once
	revoked  chan struct{}
}

// emptyRegion returns a region that has nothing yet.
func emptyRegion(provider string, dom transport.Domain, size int64) *region {
	r := &region{provider: provider, dom: dom, size: size, fd: -1, dmabuf: -1, revoked: make(chan struct{})}
	r.alarm = runtime.AddCleanup(r, leaked, leak{provider, size})
	return r
}

// makeRegion returns a region that is not sealed yet. With an error the region,
// which has what was made until then, is still to be closed.
func makeRegion(provider string, dom transport.Domain, size int64) (*region, error) {
	r := emptyRegion(provider, dom, size)
	var err error
	if r.fd, err = createMemfd(); err != nil {
		return r, err
	}
	if err := setSize(r.fd, size); err != nil {
		return r, err
	}
	promise(r.fd, size)
	r.mapped, err = unix.Mmap(r.fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	r.mem = r.mapped
	return r, os.NewSyscallError("mmap", err)
}

func (r *region) seal(seals int) error {
	_, err := unix.FcntlInt(uintptr(r.fd), unix.F_ADD_SEALS, seals)
	return os.NewSyscallError("fcntl F_ADD_SEALS", err)
}

type leak struct {
	provider string
	size     int64
}

// leaked says that a region was dropped without Close. It frees nothing: whoever
// dropped it may have handed out its descriptor.
func leaked(l leak) {
	slog.Error("device: region was never closed", "provider", l.provider, "bytes", l.size)
}

func (r *region) Domain() transport.Domain { return r.dom }
func (r *region) Size() int64              { return r.size }

func (r *region) DMABuf() (fd int, off int64, ok bool) {
	if r.closed.Load() {
		return -1, 0, false
	}
	return r.dmabuf, r.start, r.dmabuf >= 0
}

// Visible is immediate: the CPU is the device.
func (r *region) Visible(done func(error)) { done(nil) }

func (r *region) Revoked() <-chan struct{} { return r.revoked }
func (r *region) Revoke()                  { r.revoke.Do(func() { close(r.revoked) }) }

func (r *region) FD() int {
	if r.closed.Load() {
		return -1
	}
	return r.fd
}

// Bytes is nil after Close.
func (r *region) Bytes() []byte {
	if r.closed.Load() {
		return nil
	}
	return r.mem
}

// Gather copies at once; every source must be CPU-addressable.
func (r *region) Gather(dst int64, src []transport.Span, done func(error)) {
	done(r.gather(dst, src))
}

func (r *region) gather(dst int64, src []transport.Span) (err error) {
	defer r.catch(debug.SetPanicOnFault(true), &err)
	return transport.GatherCPU(r.Bytes(), dst, src)
}

// catch, deferred, makes an error of a fault: a program may take pages of its memory away
// at any time, and then the kernel may have none to put there instead (SIGBUS).
func (r *region) catch(before bool, err *error) {
	debug.SetPanicOnFault(before)
	switch fault := recover().(type) {
	case nil:
	case interface {
		runtime.Error
		Addr() uintptr
	}:
		*err = fmt.Errorf("%s: copy: %w: %w", r.provider, ErrHoles, fault)
	default:
		panic(fault)
	}
}

// CopyIn copies at once. The error wraps [transport.ErrRange].
func (r *region) CopyIn(dst int64, src []byte, done func(error)) {
	mem := r.Bytes()
	if dst < 0 || dst > int64(len(mem))-int64(len(src)) {
		done(fmt.Errorf("%s: copy of %d bytes to %d: %w", r.provider, len(src), dst, transport.ErrRange))
		return
	}
	done(r.copyIn(mem[dst:], src))
}

func (r *region) copyIn(dst, src []byte) (err error) {
	defer r.catch(debug.SetPanicOnFault(true), &err)
	copy(dst, src)
	return nil
}

// Prepare ignores every error, EINVAL of kernels before 5.14 among them.
func (r *region) Prepare(off, n int64) {
	mem := r.Bytes()
	page := int64(os.Getpagesize())
	from := max(off, 0) &^ (page - 1)
	to := min(off+n, int64(len(mem)))
	if from < to {
		_ = unix.Madvise(mem[from:to], unix.MADV_POPULATE_WRITE)
	}
}

func (r *region) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.alarm.Stop()
	var err error
	if r.mapped != nil {
		err = os.NewSyscallError("munmap", unix.Munmap(r.mapped))
	}
	unpromise(r.fd)
	for _, fd := range []int{r.dmabuf, r.fd} {
		if fd >= 0 {
			err = errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
		}
	}
	return err
}
