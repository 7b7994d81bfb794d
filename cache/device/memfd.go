package device

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// seals keep the holder of a descriptor from truncating the region (its owner
// would die of SIGBUS), from writing it, and from adding seals. The owner's own
// mapping is older than the seals and stays writable.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SEAL

// memfd provides sealed anonymous files: a stand-in for device memory that the
// CPU can address.
type memfd struct{}

func (memfd) Name() string { return "memfd" }
func (memfd) CPU() bool    { return true }

func (memfd) Alloc(dom transport.Domain, size int64) (Region, error) {
	if size <= 0 || size != int64(int(size)) {
		return nil, fmt.Errorf("memfd: %w %d", ErrSize, size)
	}
	fd, err := createMemfd()
	if err != nil {
		return nil, fmt.Errorf("memfd: create: %w", err)
	}
	mem, err := mapSealed(fd, size)
	if err != nil {
		return nil, fmt.Errorf("memfd: region of %d bytes: %w", size, errors.Join(err, unix.Close(fd)))
	}
	r := &memfdRegion{dom: dom, size: size, fd: fd, mem: mem}
	r.alarm = runtime.AddCleanup(r, leaked, size)
	return r, nil
}

func createMemfd() (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("hbmfs-region", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("hbmfs-region", flags)
	}
	return fd, os.NewSyscallError("memfd_create", err)
}

// mapSealed gives fd its size and seals it once it is mapped. The error is the
// failing call's.
func mapSealed(fd int, size int64) ([]byte, error) {
	if err := unix.Ftruncate(fd, size); err != nil {
		return nil, os.NewSyscallError("ftruncate", err)
	}
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl F_ADD_SEALS", err), unix.Munmap(mem))
	}
	return mem, nil
}

// leaked says that a region was dropped without Close. It frees nothing: whoever
// dropped it may have handed out its descriptor.
func leaked(size int64) {
	slog.Error("device: region was never closed", "provider", "memfd", "bytes", size)
}

// memfdRegion is the one owner of its descriptor and its mapping.
type memfdRegion struct {
	dom    transport.Domain
	size   int64
	fd     int
	mem    []byte
	alarm  runtime.Cleanup
	closed atomic.Bool
}

func (r *memfdRegion) Domain() transport.Domain   { return r.dom }
func (r *memfdRegion) Size() int64                { return r.size }
func (r *memfdRegion) DMABuf() (int, int64, bool) { return -1, 0, false }

// Visible is immediate: the CPU is the device.
func (r *memfdRegion) Visible(done func(error)) { done(nil) }

// Revoked never fires.
func (r *memfdRegion) Revoked() <-chan struct{} { return nil }

func (r *memfdRegion) FD() int {
	if r.closed.Load() {
		return -1
	}
	return r.fd
}

// Bytes is nil after Close.
func (r *memfdRegion) Bytes() []byte {
	if r.closed.Load() {
		return nil
	}
	return r.mem
}

// Gather copies at once; every source must be CPU-addressable.
func (r *memfdRegion) Gather(dst int64, src []transport.Span, done func(error)) {
	done(transport.GatherCPU(r.Bytes(), dst, src))
}

// CopyIn copies at once. The error wraps [transport.ErrRange].
func (r *memfdRegion) CopyIn(dst int64, src []byte, done func(error)) {
	mem := r.Bytes()
	if dst < 0 || dst > int64(len(mem))-int64(len(src)) {
		done(fmt.Errorf("memfd: copy of %d bytes to %d: %w", len(src), dst, transport.ErrRange))
		return
	}
	copy(mem[dst:], src)
	done(nil)
}

// Prepare ignores every error, EINVAL of kernels before 5.14 among them.
func (r *memfdRegion) Prepare(off, n int64) {
	mem := r.Bytes()
	page := int64(os.Getpagesize())
	from := max(off, 0) &^ (page - 1)
	to := min(off+n, int64(len(mem)))
	if from < to {
		_ = unix.Madvise(mem[from:to], unix.MADV_POPULATE_WRITE)
	}
}

func (r *memfdRegion) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.alarm.Stop()
	return errors.Join(
		os.NewSyscallError("munmap", unix.Munmap(r.mem)),
		os.NewSyscallError("close", unix.Close(r.fd)))
}
