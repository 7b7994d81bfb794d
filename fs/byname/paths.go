package byname

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"hbmfs/remote/namespace"
	"hbmfs/transport"
)

// Target is what a target knows of a dataset's names.
type Target interface {
	Stat(ctx context.Context, dataset, path string) (namespace.Attr, error)
	// Keeps returns in which version a file is likely to be open there still.
	Keeps(dataset, path string) (transport.Version, bool)
}

// Paths are the names of a dataset, from its top on. Links are not followed.
type Paths[F File] struct {
	Target  Target
	Dataset string
	// Hidden is the name in the top where the mount has something of its own; "": none.
	Hidden string
	// OpenAt opens what is at a path, in that version if it is not nil. Reopen returns
	// what is open still, and asks nobody.
	OpenAt func(ctx context.Context, dataset, path string, want *transport.Version) (F, error)
	Reopen func(dataset, path string, v transport.Version) (F, bool)
	// IsNow, if not nil, says that names may be believed as long as directories' modes
	// are, and reports whether a file is still the version at the target.
	IsNow func(ctx context.Context, f F) bool
}

// hides reports whether a path is the mount's own.
func (p *Paths[F]) hides(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	return p.Hidden != "" && top == p.Hidden
}

// Stat returns the attributes of what is at a path.
func (p *Paths[F]) Stat(ctx context.Context, path string) (namespace.Attr, error) {
	if p.hides(path) {
		return namespace.Attr{}, syscall.ENOENT
	}
	return p.Target.Stat(ctx, p.Dataset, path)
}

// keeps is Target.Keeps.
func (p *Paths[F]) keeps(path string) (v transport.Version, ok bool) {
	if p.hides(path) {
		return v, false
	}
	return p.Target.Keeps(p.Dataset, path)
}

// Open opens the version that is at a path now. The error wraps ELOOP if it is a symbolic
// link, or beneath one.
func (p *Paths[F]) Open(ctx context.Context, path string) (f F, err error) {
	if p.hides(path) {
		return f, syscall.ENOENT
	}
	f, err = p.OpenAt(ctx, p.Dataset, path, nil)
	if !errors.Is(err, syscall.ENFILE) && !errors.Is(err, syscall.EMFILE) {
		return f, err
	}
	a, err := p.Stat(ctx, path)
	if err != nil {
		return f, err
	}
	return p.OpenAt(ctx, p.Dataset, path, &a.Version) // which waits for room
}
