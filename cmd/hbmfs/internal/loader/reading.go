package loader

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// readPiece is how much one pread takes at most, in bytes, and so a worker's buffer.
const readPiece = 4 << 20

// reading gets samples by pread.
type reading struct {
	*openFiles[plainFile]
	p *playing
}

func beginReading(p *playing) epochReader {
	return &reading{p: p, openFiles: newOpenFiles(p.Set, func(file int) (plainFile, error) {
		return openPlain(p.Set.path(p.via.Dir, file))
	})}
}

func (r *reading) worker() sampleReader {
	return &preader{reading: r, buf: make([]byte, readPiece)}
}

type preader struct {
	*reading
	t   tally
	buf []byte
}

func (r *preader) tally() *tally { return &r.t }

func (r *preader) get(ctx context.Context, batch []wanted) error {
	return oneByOne(ctx, batch, &r.t, r.sample)
}

func (r *preader) sample(ctx context.Context, s wanted) (err error) {
	f, err := r.take(s.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.giveBack(f)) }()
	for off, end := s.Off, s.Off+s.Len; off < end; {
		n, err := f.readAt(r.buf[:min(end-off, readPiece)], off)
		if err != nil {
			return err
		}
		if r.p.checks {
			if err := r.p.Set.Workload.check(r.buf[:n], s.File, off, s.all); err != nil {
				return r.p.wrong(s.File, err)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		off += int64(n)
		r.t.bytes += int64(n)
	}
	return nil
}

// Close implements [io.Closer].
func (*preader) Close() error { return nil }

// plainFile is read as a C program would: Go's own files ask a mount about
// readiness first.
type plainFile struct {
	fd   int
	name string
}

func openPlain(name string) (plainFile, error) {
	for {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			return plainFile{fd, name}, nil
		case err != unix.EINTR:
			return plainFile{}, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// readAt reads at least a byte.
func (f plainFile) readAt(b []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(f.fd, b, off)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF
		case err == nil:
			return n, nil
		}
		return 0, &os.PathError{Op: "read", Path: f.name, Err: err}
	}
}

// Close implements [io.Closer].
func (f plainFile) Close() error { return unix.Close(f.fd) }
