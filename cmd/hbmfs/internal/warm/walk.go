package warm

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// File is one that is to be brought.
type File struct {
	Path string
	Size int64 // bytes
}

// walkers is how many directories are listed at once.
const walkers = 8

// Walk lists the regular files at and below paths, in the order of their names, and
// their size in all. Symbolic links below are not followed. What can't be listed
// below is told to failed, by several goroutines at once, and left out.
func Walk(ctx context.Context, paths []string, failed func(error)) (files []File, size int64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(walkers)
	w := &walk{ctx: ctx, group: group, failed: failed}
	for _, path := range paths {
		if err := w.start(path); err != nil {
			return nil, 0, err
		}
	}
	if err := group.Wait(); err != nil {
		return nil, 0, err
	}
	slices.SortFunc(w.files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	w.files = slices.CompactFunc(w.files, func(a, b File) bool { return a.Path == b.Path })
	for _, f := range w.files {
		size += f.Size
	}
	return w.files, size, nil
}

type walk struct {
	ctx    context.Context
	group  *errgroup.Group
	failed func(error)

	mu    sync.Mutex
	files []File // guarded by mu
}

func (w *walk) start(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		w.group.Go(func() error { return w.list(path) })
	default:
		w.found(File{path, info.Size()}) // what it is, the mount says
	}
	return nil
}

func (w *walk) found(f File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files = append(w.files, f)
}

// list lists a directory, and those below: in other goroutines, as long as there
// may be more.
func (w *walk) list(dir string) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		w.failed(err)
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if below := func() error { return w.list(path) }; !w.group.TryGo(below) {
				err = below()
			}
		case e.Type().IsRegular():
			info, infoErr := e.Info()
			switch {
			case infoErr == nil:
				w.found(File{path, info.Size()})
			case !errors.Is(infoErr, fs.ErrNotExist): // it has just gone
				err = infoErr
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
