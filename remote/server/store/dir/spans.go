package dir

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// maxSpans bounds how much of a fragmented file one reply tells.
const maxSpans = 1024

// Spans implements [store.Sparse].
func (f *file) Spans(ctx context.Context, off int64) (data []uint64, end int64, err error) {
	if off < 0 || off > f.size {
		return nil, 0, fmt.Errorf("%w: data from %d of a file of %d", transport.ErrRange, off, f.size)
	}
	at := off
	for at < f.size && len(data) < 2*maxSpans {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		from, to, err := f.nextData(at)
		if err != nil {
			return nil, 0, err
		}
		if from < to {
			data = append(data, uint64(from), uint64(to))
		}
		at = to
	}
	if !f.unchanged() {
		return nil, 0, f.changed()
	}
	return data, at, nil
}

// nextData returns the first span of data from off on; an empty one at the end of
// the file if there is none.
func (f *file) nextData(off int64) (from, to int64, err error) {
	from, err = unix.Seek(f.fd, off, unix.SEEK_DATA)
	switch err {
	case nil:
		to, err = unix.Seek(f.fd, from, unix.SEEK_HOLE)
	case unix.ENXIO:
		return f.size, f.size, nil
	case unix.EINVAL: // a file system that does not know
		return off, f.size, nil
	}
	if err != nil {
		return 0, 0, os.NewSyscallError("lseek", err)
	}
	if to <= off { // it was cut off meanwhile
		return 0, 0, f.changed()
	}
	return min(from, f.size), min(to, f.size), nil
}
