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

func (memfd) Room() (Room, error) { return hostRoom() }

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

// Import takes a memfd that can't shrink: who touched what was cut off would die of
// SIGBUS.
func (memfd) Import(dom transport.Domain, fd int, off, size int64) (Buffer, error) {
	if err := checkMemfd(fd, off, size); err != nil {
		return nil, fmt.Errorf("memfd: import: %w", err)
	}
	r, own, err := importMapping("memfd", dom, fd, off, size)
	r.fd = own
	if err != nil {
		return nil, fmt.Errorf("memfd: import: %w", errors.Join(err, r.Close()))
	}
	return r, nil
}

// checkMemfd refuses what is no memfd of ordinary pages. Of huge ones, a hole can be
// punched which can't be filled again. Only what shrinks no more has a size to check.
func checkMemfd(fd int, off, size int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	switch {
	case fs.Type != unix.TMPFS_MAGIC || err != nil:
		return refuse("%w: no memfd, or one of huge pages", ErrKind)
	case seals&unix.F_SEAL_SHRINK == 0:
		return refuse("%w: it can be cut off; seal it (fcntl F_ADD_SEALS, F_SEAL_SHRINK)", ErrAccess)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	return checkRange(off, size, st.Size)
}
