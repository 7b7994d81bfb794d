package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
)

const (
	// followEvery bounds how long mounts see what an export's path led to before.
	followEvery = 500 * time.Millisecond
	// goneGrace is how long a path may be away before it counts: data sets are
	// published by two renames, and there is nothing between them.
	goneGrace = 100 * time.Millisecond
)

// Store is the path of a directory, regular file or read-only block device. It
// serves what the path leads to, and follows when that is replaced.
type Store struct {
	files *Files
	path  string
	allow func(path string) error
	asked chan chan error
	done  chan struct{} // closed when Follow has returned

	// Only Follow looks, since that may block for ever:
	cur  *tree  // what was there last
	gone string // why it is not served any more
}

// Store returns the store of path. allow, if not nil, returns an error for a path,
// without symbolic links, that it may not lead to, or through.
func (t *Files) Store(path string, allow func(path string) error) *Store {
	return &Store{files: t, path: path, allow: allow, asked: make(chan chan error), done: make(chan struct{})}
}

// Open implements [store.Store].
func (f *Store) Open() (store.Tree, error) {
	err := f.makeAbsolute()
	if err == nil {
		f.cur, err = f.find()
	}
	if err == nil {
		if err = f.cur.probe(); err != nil {
			f.cur.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return f.cur, nil
}

// makeAbsolute leaves the path as it is otherwise: with a symbolic link before
// it, ".." has a meaning that [filepath.Abs] would take away.
func (f *Store) makeAbsolute() error {
	if filepath.IsAbs(f.path) {
		return nil
	}
	dir, err := os.Getwd()
	f.path = dir + "/" + f.path
	return err
}

func (f *Store) find() (*tree, error) {
	path, err := resolve(f.path, f.allow)
	if err != nil {
		return nil, err
	}
	return f.files.find(path)
}

// Follow implements [store.Store].
func (f *Store) Follow(ctx context.Context, changed func(store.Tree, error)) {
	defer close(f.done)
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.look(ctx, changed)
		case answer := <-f.asked:
			f.look(ctx, changed)
			answer <- f.servable()
		}
	}
}

// look makes what the path leads to what is served.
func (f *Store) look(ctx context.Context, changed func(store.Tree, error)) {
	now, err := f.next()
	for wait := goneGrace; err != nil && f.gone == "" && wait > 0; wait -= goneGrace / 4 {
		if !pause(ctx, goneGrace/4) {
			return
		}
		now, err = f.next()
	}
	switch {
	case err == nil && now == nil:
	case err == nil:
		f.cur, f.gone = now, ""
		changed(now, nil)
	case isPassing(err):
		f.files.log.Debug("export not looked at", "path", f.path, "err", err)
	default:
		if why := err.Error(); why != f.gone {
			f.gone = why
			changed(nil, err)
		}
	}
}

// servable returns why what is there must not be served.
func (f *Store) servable() error {
	if f.gone != "" {
		return nil // which mounts are told otherwise
	}
	return f.cur.checkReserved()
}

// next returns what the path leads to, or nil if that is what is served.
func (f *Store) next() (*tree, error) {
	d, err := f.find()
	if err != nil {
		return nil, err
	}
	if f.gone == "" && f.cur.same(d) {
		d.Close()
		return nil, nil
	}
	for _, check := range []func() error{func() error { return f.cur.checkMounted(d) }, d.probe, d.checkReserved} {
		if err := check(); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

// isPassing reports whether err says nothing about what a path leads to: this
// process is short of something, or a file system has a bad moment.
func isPassing(err error) bool {
	return slices.ContainsFunc([]error{
		unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.EINTR, unix.EIO, unix.ETIMEDOUT,
	}, func(p error) bool { return errors.Is(err, p) })
}

// Look implements [store.Store].
func (f *Store) Look(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case f.asked <- answer:
	case <-f.done:
		return nil
	case <-ctx.Done():
		return nil
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return nil
	}
}
