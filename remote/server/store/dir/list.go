package dir

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// dirReader reads a directory's names, with memory that it goes on using.
type dirReader struct {
	buf   [64 << 10]byte // what getdents fills at once
	names []string
}

var dirReaders = sync.Pool{New: func() any { return new(dirReader) }}

// List implements [store.Tree]: page by page, however large the directory is.
func (d *tree) List(ctx context.Context, path []byte, most int, page func([]*wire.Entry) error) error {
	if _, isRoot, err := d.relative(path); err != nil {
		return err
	} else if d.kind != wire.Dataset_DIRECTORY {
		return d.listSingle(isRoot, page)
	}
	fd, err := d.openDir(path)
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	defer unix.Close(fd)
	r := dirReaders.Get().(*dirReader)
	defer dirReaders.Put(r)
	r.names = r.names[:0]
	for {
		before := len(r.names)
		if err := r.next(fd); err != nil {
			return err
		}
		end := len(r.names) == before
		if most >= 0 {
			if len(r.names) > most {
				return store.ErrTooMany
			}
			if !end {
				continue // none is described before it is known how many there are
			}
		}
		if len(r.names) > 0 {
			if err := r.describe(ctx, fd, page); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}

// describe hands the entries of the names that were read on, and forgets them.
func (r *dirReader) describe(ctx context.Context, fd int, page func([]*wire.Entry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := statAll(fd, r.names)
	if err != nil {
		return err
	}
	r.names = r.names[:0]
	return page(entries)
}

func (d *tree) listSingle(isRoot bool, page func([]*wire.Entry) error) error {
	if !isRoot {
		return unix.ENOTDIR
	}
	attr, err := d.stat([]byte(d.base))
	if err != nil {
		return err
	}
	return page([]*wire.Entry{{Name: []byte(d.base), Attr: attr}})
}

// next adds the next names of the directory fd; none at its end.
func (r *dirReader) next(fd int) error {
	for before := len(r.names); ; {
		n, err := unix.ReadDirent(fd, r.buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("getdents64", err)
		}
		_, _, r.names = unix.ParseDirent(r.buf[:n], -1, r.names)
		if n == 0 || len(r.names) > before { // "." and ".." may come alone
			return nil
		}
	}
}

// statAll returns the entries of these names that are still there.
func statAll(dir int, names []string) ([]*wire.Entry, error) {
	entries := make([]*wire.Entry, 0, len(names))
	for _, name := range names {
		if own.hides(dir, name) {
			continue
		}
		attr, err := statAt(dir, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, &wire.Entry{Name: []byte(name), Attr: attr})
	}
	return entries, nil
}
