package byname

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"hbmfs/remote/namespace"
	"hbmfs/transport"
)

// openNow opens the version that is at a path now, and only asks for that if it is open
// at the target.
func (o *Opener[F]) openNow(ctx context.Context, path string) (F, error) {
	if v, kept := o.Tree.keeps(path); kept {
		if f, err := o.openKept(ctx, path, v); !errors.Is(err, transport.ErrStale) {
			return f, err
		}
	}
	return o.Tree.Open(ctx, path)
}

// openKept opens a version that is likely to be open at the target. It is left there as
// it is for who may not read it. The error wraps [transport.ErrStale] if that is not what
// the path leads to.
func (o *Opener[F]) openKept(ctx context.Context, path string, v transport.Version) (none F, err error) {
	a, err := o.statKept(ctx, path)
	switch {
	case err != nil:
		return none, err
	case a.Version != v:
		return none, transport.ErrStale
	}
	if err := o.mayRead(path, a); err != nil {
		return none, err
	}
	f, ok := o.Tree.Reopen(o.Tree.Dataset, path, v)
	switch {
	case !ok:
		return o.Tree.OpenAt(ctx, o.Tree.Dataset, path, &v)
	case o.Tree.IsNow != nil && !o.Tree.IsNow(ctx, f):
		f.Close()
		return none, transport.ErrStale
	}
	return f, nil
}

// statKept returns the attributes of a path, as old as names may be believed.
func (o *Opener[F]) statKept(ctx context.Context, path string) (*namespace.Attr, error) {
	if o.Tree.IsNow != nil {
		return o.stat(ctx, path)
	}
	a, err := o.Tree.Stat(ctx, path)
	return &a, err
}

// mayRead returns nil if the caller may read a file that has these attributes.
func (o *Opener[F]) mayRead(path string, a *namespace.Attr) error {
	if a.Mode&syscall.S_IFMT == syscall.S_IFREG && o.Who.MayRead(a) {
		return nil
	}
	return fmt.Errorf("%s may not be read by uid %d: %w", path, o.Who.UID, syscall.EACCES)
}
