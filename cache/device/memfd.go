package device

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// Seals keep the holder of a descriptor from truncating the region (its owner
// would die of SIGBUS), from writing it, and from adding seals. The owner's own
// mapping is older than the seals and stays writable.
const (
	sizeSeals  = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	writeSeals = unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SEAL
)

// memfd provides sealed anonymous files: a stand-in for device memory that the
// CPU can address.
type memfd struct{}

func (memfd) Name() string { return "memfd" }
func (memfd) CPU() bool    { return true }

func (memfd) Alloc(dom transport.Domain, size int64) (Region, error) {
	if size <= 0 || size != int64(int(size)) {
		return nil, fmt.Errorf("memfd: %w %d", ErrSize, size)
	}
	r, err := makeRegion("memfd", dom, size)
	if err == nil {
		err = r.seal(sizeSeals | writeSeals)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd: region of %d bytes: %w", size, errors.Join(err, r.Close()))
	}
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
