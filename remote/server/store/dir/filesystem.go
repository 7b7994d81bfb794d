package dir

import (
	"os"

	"golang.org/x/sys/unix"
)

// fileSystem returns the kind of file system that fd is in.
func fileSystem(fd int) (uint32, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, os.NewSyscallError("fstatfs", err)
	}
	return uint32(fs.Type), nil
}

// File systems that package unix has no name for.
const (
	jfsMagic = 0x3153464a
	zfsMagic = 0x2fc12fc1
)

// leasesCover reports whether every writer of a file in that file system breaks
// the leases on it. Network, cluster and FUSE file systems have writers
// elsewhere; a stacked one, such as overlayfs, has them in the layers below.
func leasesCover(fs uint32) bool {
	switch fs {
	case unix.EXT4_SUPER_MAGIC, // ext2 and ext3 too
		unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC,
		unix.NILFS_SUPER_MAGIC, unix.REISERFS_SUPER_MAGIC,
		unix.BCACHEFS_SUPER_MAGIC, jfsMagic, zfsMagic,
		unix.TMPFS_MAGIC, unix.RAMFS_MAGIC,
		unix.SQUASHFS_MAGIC, unix.EROFS_SUPER_MAGIC_V1, unix.ISOFS_SUPER_MAGIC:
		return true
	}
	return false
}

// isKernels reports whether files of that file system are the kernel's: reading
// one can have effects, and its bytes are made up as they are read.
func isKernels(fs uint32) bool {
	switch fs {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC,
		unix.SECURITYFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC, unix.SELINUX_MAGIC, unix.SMACK_MAGIC:
		return true
	}
	return false
}
