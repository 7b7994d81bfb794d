// Package byname opens files beneath a directory for a caller who has only named them,
// and is not in open(2): it makes the checks that the kernel would.
//
// A name leads downwards only, whatever symbolic links are on its way; each directory
// from the first one down must let the caller search it, and the file must let him read
// it. What the kernel would allow and can't be decided here is EACCES.
//
// Locking: Dirs.mu guards its table, and is not held over a question to the target.
package byname

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"hbmfs/fs/creds"
	"hbmfs/remote/namespace"
)

const (
	maxPath      = 4095
	maxComponent = 255
	maxLinks     = 40 // MAXSYMLINKS
)

// File is what was opened.
type File interface {
	Attr() namespace.Attr
	Close()
	// Discard is Close of a file that is not to stay open at the target for others.
	Discard()
}

// Opener opens files beneath a directory for one caller.
type Opener[F File] struct {
	Tree *Paths[F]
	Dirs *Dirs
	Base string // the directory; "" is the top
	Who  creds.Creds
}

// StatBase returns the attributes of the directory, as they are gone by.
func (o *Opener[F]) StatBase(ctx context.Context) (*namespace.Attr, error) {
	return o.stat(ctx, o.Base)
}

// stat returns the attributes of a path, which may be as old as Dirs has them.
func (o *Opener[F]) stat(ctx context.Context, path string) (*namespace.Attr, error) {
	return o.Dirs.Stat(ctx, o.Tree.Dataset, path, o.Tree.Stat)
}

// walk is the way of one name.
type walk[F File] struct {
	*Opener[F]
	ctx   context.Context
	dir   string // where it is
	rest  []string
	links int
}

// Open opens the file that name leads to, for reading. The error wraps a
// [syscall.Errno]: EINVAL, ENAMETOOLONG, ENOENT and ENOTDIR of the name, ELOOP, EACCES,
// or is what the target says.
func (o *Opener[F]) Open(ctx context.Context, name string) (f F, err error) {
	parts, err := split(name)
	if err != nil {
		return f, err
	}
	w := walk[F]{Opener: o, ctx: ctx, dir: o.Base, rest: parts}
	for len(w.rest) > 1 {
		if err := w.enter(); err != nil {
			return f, err
		}
	}
	return w.open()
}

// split returns the components of a name.
func split(name string) ([]string, error) {
	switch {
	case name == "":
		return nil, fmt.Errorf("a name is empty: %w", syscall.ENOENT)
	case len(name) > maxPath:
		return nil, fmt.Errorf("a name of %d bytes: %w", len(name), syscall.ENAMETOOLONG)
	case name[0] == '/':
		return nil, fmt.Errorf("%q leads out of the directory: %w", name, syscall.EACCES)
	case strings.IndexByte(name, 0) >= 0:
		return nil, fmt.Errorf("%q has a NUL: %w", name, syscall.EINVAL)
	}
	parts := strings.Split(name, "/")
	for _, p := range parts {
		switch {
		case p == "" || p == ".":
			return nil, fmt.Errorf("%q has an empty component, or \".\": %w", name, syscall.EINVAL)
		case p == "..":
			return nil, fmt.Errorf("%q may lead out of the directory: %w", name, syscall.EACCES)
		case len(p) > maxComponent:
			return nil, fmt.Errorf("%q has a component of %d bytes: %w", name, len(p), syscall.ENAMETOOLONG)
		}
	}
	return parts, nil
}

// next is the path of the next component.
func (w *walk[F]) next() string {
	if w.dir == "" {
		return w.rest[0]
	}
	return w.dir + "/" + w.rest[0]
}

// search returns the attributes of where the walk is, if it may go on from there.
func (w *walk[F]) search() (*namespace.Attr, error) {
	a, err := w.stat(w.ctx, w.dir)
	switch {
	case err != nil:
		return nil, err
	case a.Mode&syscall.S_IFMT != syscall.S_IFDIR:
		return nil, fmt.Errorf("%s: %w", w.dir, syscall.ENOTDIR)
	case !w.Who.MaySearch(a):
		return nil, fmt.Errorf("%s may not be searched by uid %d: %w", w.dir, w.Who.UID, syscall.EACCES)
	}
	return a, nil
}

// enter goes into the next component.
func (w *walk[F]) enter() error {
	dir, err := w.search()
	if err != nil {
		return err
	}
	path := w.next()
	a, err := w.stat(w.ctx, path)
	switch {
	case err != nil:
		return err
	case a.Mode&syscall.S_IFMT == syscall.S_IFLNK:
		return w.follow(dir, a)
	case a.Mode&syscall.S_IFMT != syscall.S_IFDIR:
		return fmt.Errorf("%s: %w", path, syscall.ENOTDIR)
	}
	w.dir, w.rest = path, w.rest[1:]
	return nil
}

// follow goes where a link in dir leads, instead of the next component.
func (w *walk[F]) follow(dir, link *namespace.Attr) error {
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("%s: %w", w.next(), syscall.ELOOP)
	}
	if !w.Who.MayFollow(dir, link) {
		return fmt.Errorf("%s is a symbolic link of another user, in a directory that all may write: %w", w.next(), syscall.EACCES)
	}
	parts, err := split(strings.TrimPrefix(link.Symlink, "./"))
	if errors.Is(err, syscall.EINVAL) {
		err = fmt.Errorf("a symbolic link to %q: %w", link.Symlink, syscall.EACCES) // the kernel may know what it means
	}
	if err != nil {
		return fmt.Errorf("%s: %w", w.next(), err)
	}
	w.rest = append(parts, w.rest[1:]...)
	return nil
}

// open opens the last component, and what it leads to.
func (w *walk[F]) open() (none F, err error) {
	for {
		dir, err := w.search()
		if err != nil {
			return none, err
		}
		path := w.next()
		f, err := w.openNow(w.ctx, path)
		if err == nil {
			return w.allowed(path, f)
		}
		if !errors.Is(err, syscall.ELOOP) {
			return none, err
		}
		if err := w.followLast(dir, path); err != nil {
			return none, err
		}
		for len(w.rest) > 1 {
			if err := w.enter(); err != nil {
				return none, err
			}
		}
	}
}

// allowed returns f if the caller may read it, and discards it otherwise.
func (w *walk[F]) allowed(path string, f F) (none F, err error) {
	a := f.Attr()
	if err := w.mayRead(path, &a); err != nil {
		f.Discard()
		return none, err
	}
	return f, nil
}

// followLast follows the last component, which was a link a moment ago: the kernel
// too asks for each open what that is.
func (w *walk[F]) followLast(dir *namespace.Attr, path string) error {
	a, err := w.Tree.Stat(w.ctx, path)
	switch {
	case err != nil:
		return err
	case a.Mode&syscall.S_IFMT != syscall.S_IFLNK:
		if w.links++; w.links <= maxLinks {
			return nil // it is another by now
		}
		return fmt.Errorf("%s is replaced again and again: %w", path, syscall.ESTALE)
	}
	return w.follow(dir, &a)
}
