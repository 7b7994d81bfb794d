package fs

import (
	"context"
	"errors"
	"math"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"golang.org/x/sys/unix"
)

// Lseek finds data and holes; other whences are the kernel's own.
func (h *handle) Lseek(ctx context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	var seek func(context.Context, int64) (int64, error)
	switch whence {
	case unix.SEEK_DATA:
		seek = h.src.file.SeekData
	case unix.SEEK_HOLE:
		seek = h.src.file.SeekHole
	default:
		return 0, syscall.EINVAL
	}
	if off > math.MaxInt64 {
		return 0, syscall.ENXIO
	}
	at, err := retryInterrupted(ctx, func(ctx context.Context) (int64, error) { return seek(ctx, int64(off)) })
	if errors.Is(err, syscall.ENXIO) {
		return 0, syscall.ENXIO
	}
	if err != nil {
		return 0, h.n.t.errno("lseek", h.n.at(), err)
	}
	return uint64(at), 0
}

var _ fusefs.FileLseeker = (*handle)(nil)
