package load

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// readFiles opens files, reads all of each into one buffer, and closes them.
func (w *worker) readFiles() error {
	buf := make([]byte, MostSize)
	return w.each(func(i int) (int64, error) { return readWhole(w.path(i), buf[:Size(i)]) })
}

// readWhole fills buf from a file's beginning.
func readWhole(path string, buf []byte) (_ int64, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	return readAt(fd, path, buf, 0)
}

// readAt fills buf from off on.
func readAt(fd int, path string, buf []byte, off int64) (int64, error) {
	for done := 0; done < len(buf); {
		n, err := unix.Pread(fd, buf[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, fmt.Errorf("read %s at %d: %w", path, off+int64(done), err)
		}
		done += n
	}
	return int64(len(buf)), nil
}

// readSamples reads ranges of one file.
func (w *worker) readSamples() (err error) {
	path := filepath.Join(w.Dir, File)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	buf := make([]byte, w.Length)
	return w.each(func(i int) (int64, error) { return readAt(fd, path, buf, w.sampleOffset(i)) })
}
