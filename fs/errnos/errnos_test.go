package errnos

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"hbmfs/cache"
	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// TestOf: what hbmfs.h promises for each kind of failure, also when it is
// wrapped, and EIO for what nobody expected.
func TestOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{context.Canceled, syscall.EINTR},
		{context.DeadlineExceeded, syscall.EIO},
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
		{fmt.Errorf("%w: %w", transport.ErrConnLost, context.Canceled), syscall.EIO},
		{fmt.Errorf("%w: %w", transport.ErrProtocol, syscall.ECONNRESET), syscall.EIO},
		{transport.ErrStalled, syscall.EIO},
		{transport.ErrChecksum, syscall.EIO},
		{fmt.Errorf("%w: %w", transport.ErrSource, syscall.EACCES), syscall.EIO},
		{cache.ErrNoDevice, syscall.ENODEV},
		{cache.ErrNoSpace, syscall.ENOSPC},
		{cache.ErrOverdue, syscall.EIO},
		{&limits.Error{What: "fetches that wait for room"}, syscall.EDQUOT},
		{syscall.ENOENT, syscall.ENOENT},
		{fmt.Errorf("%w: %w", device.ErrImport, device.ErrKind), syscall.EOPNOTSUPP},
		{fmt.Errorf("%w: %w: %w", device.ErrImport, device.ErrAccess, syscall.EACCES), syscall.EPERM},
		{fmt.Errorf("%w: %w", device.ErrImport, device.ErrHoles), syscall.EFAULT},
		{device.ErrImport, syscall.EINVAL},
		{syscall.EMFILE, syscall.ENFILE},
		{syscall.EACCES, syscall.EACCES},
		{errors.New("unexpected"), syscall.EIO},
	} {
		if got := Of(fmt.Errorf("reading f: %w", c.err)); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}
