package fs

import (
	"context"
	"syscall"
)

// Getxattr: there are no extended attributes. The kernel asks for one once in the
// life of a mount, such as for capabilities at an exec, and then knows
// (EOPNOTSUPP).
func (readOnly) Getxattr(context.Context, string, []byte) (uint32, syscall.Errno) {
	return 0, syscall.ENOSYS
}

// Listxattr answers an empty list: that there is no such call would be an error
// to programs that copy attributes.
func (readOnly) Listxattr(context.Context, []byte) (uint32, syscall.Errno) { return 0, 0 }

func (readOnly) Setxattr(context.Context, string, []byte, uint32) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Removexattr(context.Context, string) syscall.Errno { return syscall.EROFS }
