// Package errnos has what the caller of a system call sees of what the rooms report. It
// holds no lock over a call.
package errnos

import (
	"context"
	"errors"
	"syscall"

	"hbmfs/cache"
	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// table maps what the rooms report to what the caller of a system call sees.
// The first that matches counts.
var table = []struct {
	err   error
	errno syscall.Errno
}{
	{transport.ErrConnLost, syscall.EIO}, // also if it wraps the end of a context
	{context.Canceled, syscall.EINTR},
	{uapi.ErrCommand, syscall.ENOTTY},
	{uapi.ErrSize, syscall.EINVAL},
	{uapi.ErrTooBig, syscall.E2BIG},
	{uapi.ErrFlags, syscall.EINVAL},
	{uapi.ErrZero, syscall.EINVAL},
	{uapi.ErrRange, syscall.EINVAL},
	{transport.ErrStale, syscall.ESTALE},
	{transport.ErrRange, syscall.EINVAL},
	{transport.ErrRevoked, syscall.ENODEV},
	{transport.ErrNotDirect, syscall.EREMOTEIO},
	{cache.ErrNoDevice, syscall.ENODEV},
	{cache.ErrNoSpace, syscall.ENOSPC},
	{device.ErrKind, syscall.EOPNOTSUPP},
	{device.ErrAccess, syscall.EPERM},
	{device.ErrHoles, syscall.EFAULT},
	{device.ErrImport, syscall.EINVAL},
	{limits.ErrLimit, syscall.EDQUOT},
	{cache.ErrUnsettled, syscall.EAGAIN},
	{syscall.EMFILE, syscall.ENFILE}, // the limit is the daemon's, not the caller's
	{transport.ErrLoanBudget, syscall.ENOSPC},
	// These wrap errnos of the network or the target, which are not the caller's.
	{transport.ErrSource, syscall.EIO},
	{transport.ErrProtocol, syscall.EIO},
	{transport.ErrChecksum, syscall.EIO},
	{transport.ErrSession, syscall.EIO},
	{transport.ErrClosed, syscall.EIO},
	{cache.ErrOverdue, syscall.EIO},
	{cache.ErrClosed, syscall.EIO},
}

// Of returns the errno of an error: EIO for what nobody expected.
func Of(err error) syscall.Errno {
	for _, m := range table {
		if errors.Is(err, m.err) {
			return m.errno
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return syscall.EIO
}
