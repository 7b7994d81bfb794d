package dir

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"hbmfs/remote/server/store/dir/breaks"

	"golang.org/x/sys/unix"
)

// Of include/uapi/linux/fcntl.h, as is struct delegation.
const (
	fGetDelegation = 1024 + 15 // F_GETDELEG
	fSetDelegation = 1024 + 16 // F_SETDELEG
)

type delegation struct {
	flags uint32
	kind  uint16
	_     uint16
}

// delegator is what takes read delegations: the kernel, or a test's fake of it.
type delegator interface {
	// take delegates what fd, open for reading and without a lease, is of. Whoever
	// changes it waits from then on until that is dropped; b is told.
	take(fd int, b *breaks.Thread) error
	// held reports whether it is delegated, and nobody waits to change it.
	held(fd int) bool
	drop(fd int)
}

// kernelDelegator is Linux, from 6.19 on.
type kernelDelegator struct{}

func (kernelDelegator) take(fd int, b *breaks.Thread) error {
	if err := b.Own(fd); err != nil {
		return err
	}
	return os.NewSyscallError("fcntl F_SETDELEG", delegate(fd, unix.F_RDLCK))
}

func (kernelDelegator) held(fd int) bool {
	var d delegation
	_, _, errno := unix.Syscall(unix.SYS_FCNTL, uintptr(fd), fGetDelegation, uintptr(unsafe.Pointer(&d)))
	return errno == 0 && d.kind == unix.F_RDLCK
}

func (kernelDelegator) drop(fd int) {
	_ = delegate(fd, unix.F_UNLCK) // it fails if the kernel took it away first, which is as well
}

func delegate(fd int, kind uint16) error {
	d := delegation{kind: kind}
	if _, _, errno := unix.Syscall(unix.SYS_FCNTL, uintptr(fd), fSetDelegation, uintptr(unsafe.Pointer(&d))); errno != 0 {
		return errno
	}
	return nil
}

// delegationsCover reports whether every change of a name or of attributes in that
// file system breaks delegations, as the sources of Linux 7.3 have it. Not btrfs,
// where subvolumes are made and deleted without.
func delegationsCover(fs uint32) bool {
	switch fs {
	case unix.EXT4_SUPER_MAGIC, // ext2 and ext3 too
		unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC,
		unix.SQUASHFS_MAGIC, unix.EROFS_SUPER_MAGIC_V1, unix.ISOFS_SUPER_MAGIC:
		return true
	}
	return false
}

// tryDelegation takes a delegation on fd and drops it again. It returns "" or why
// that can't be done.
func tryDelegation(k delegator, fd int, b *breaks.Thread) string {
	fs, err := fileSystem(fd)
	if err != nil {
		return err.Error()
	}
	if !delegationsCover(fs) {
		return fmt.Sprintf("its file system (%#x) has changes that break no delegation: ext4, xfs and tmpfs have none", fs)
	}
	err = k.take(fd, b)
	switch {
	case err == nil:
		k.drop(fd)
		return ""
	case errors.Is(err, unix.EAGAIN): // someone changes it just now
		return ""
	case leasesOff():
		return "leases are off on this host: sysctl fs.leases-enable=1 turns them on"
	case errors.Is(err, unix.EINVAL):
		return "this kernel has no delegations (" + err.Error() + "): Linux 6.19 has"
	case errors.Is(err, unix.EACCES):
		return "delegations of others' directories need CAP_LEASE"
	}
	return err.Error()
}
