package dir

import (
	"context"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// fill reads what is in memory, or else past the page cache where that is worth it.
func (f *file) fill(ctx context.Context, off int64, dst []byte) (int, error) {
	if len(dst) < directMin {
		return f.fillWait(ctx, off, dst, 0)
	}
	if n, err := f.fillNow(off, dst); err != transport.ErrWouldBlock {
		return n, err
	}
	done := 0
	if !f.blocks.Load() { // then it is not in memory
		done = f.fillDirect(off, dst)
	}
	return f.fillWait(ctx, off, dst, done)
}

// fillWait reads on from done. The kernel does not let go of a read of a local
// disk, so ctx counts between two.
func (f *file) fillWait(ctx context.Context, off int64, dst []byte, done int) (int, error) {
	for {
		if done == len(dst) {
			return done, nil
		}
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, err := unix.Pread(f.fd, dst[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, err
		case n == 0:
			return done, nil
		default:
			done += n
		}
	}
}

// fillNow reads what is in memory, all of it or nothing.
func (f *file) fillNow(off int64, dst []byte) (int, error) {
	if f.blocks.Load() {
		return 0, transport.ErrWouldBlock
	}
	n, err := preadNow(f.fd, dst, off)
	switch {
	case err == unix.EOPNOTSUPP || err == unix.ENOSYS || err == unix.EINVAL:
		f.blocks.Store(true)
		return 0, transport.ErrWouldBlock
	case err == unix.EAGAIN || err == unix.EINTR || err == nil && n < len(dst):
		return 0, transport.ErrWouldBlock
	}
	return n, err
}

func preadNow(fd int, dst []byte, off int64) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	iov := [1][]byte{dst}
	return unix.Preadv2(fd, iov[:], off, unix.RWF_NOWAIT)
}
