package fs

import (
	"context"
	"time"

	"hbmfs/remote"
	"hbmfs/remote/namespace"
	"hbmfs/transport"
)

// Target is where the names of a mount come from, and its open files, of type F.
// Methods may be called concurrently; package remote says what they do, and which
// errors they return.
type Target[F File] interface {
	names
	Open(ctx context.Context, dataset, path string, want *transport.Version) (F, error)
	Reopen(dataset, path string, v transport.Version) (F, bool)
}

// names is a target but for its files.
type names interface {
	Datasets() []namespace.Dataset
	Stat(ctx context.Context, dataset, path string) (namespace.Attr, error)
	List(ctx context.Context, dataset, path string) ([]namespace.Entry, time.Duration, error)
	Statfs(ctx context.Context, dataset string) (namespace.Statfs, error)
	// Now is the time that File.Vouch counts by, TermLeft for how long open files
	// are vouched for.
	Now() remote.Moment
	TermLeft() time.Duration
	IsAway() bool
	Keeps(dataset, path string) (transport.Version, bool)
	Delegated(dataset, path string) bool
	Transports() []transport.Verdict
	// Attach prepares memory of a program's as a destination, until Detach.
	Attach(ctx context.Context, mem transport.Memory) error
	Detach(mem transport.Memory) error
	Stats() remote.Stats
}

// File is one version of a file, open at its target; what [remote.File] says of a
// method holds.
type File interface {
	Attr() namespace.Attr
	Size() int64
	Settled() (ok bool, why string)
	Stale() bool
	OnStale(fn func())
	OnUnlinked(fn func())
	Vouch(ctx context.Context, since remote.Moment) error
	VouchSoon(ctx context.Context, since remote.Moment) error
	VouchAhead(now remote.Moment)
	IsVouched(since remote.Moment) bool
	Submit(reqs []*transport.Request)
	Read(ctx context.Context, off int64, n int) (transport.Buffer, error)
	Borrow(ctx context.Context, dom transport.Domain, off, n int64, limit int) (transport.Loan, error)
	Digest(ctx context.Context, off, n int64) ([32]byte, error)
	SeekData(ctx context.Context, off int64) (int64, error)
	SeekHole(ctx context.Context, off int64) (int64, error)
	Close()
	Discard()
}

// opener opens files of any target.
type opener func(ctx context.Context, dataset, path string, want *transport.Version) (File, error)

func openerOf[F File](t Target[F]) opener {
	return func(ctx context.Context, dataset, path string, want *transport.Version) (File, error) {
		f, err := t.Open(ctx, dataset, path, want)
		if err != nil {
			return nil, err // and no File that is a nil F
		}
		return f, nil
	}
}

// reopener has files of any target that are open there still.
type reopener func(dataset, path string, v transport.Version) (File, bool)

func reopenerOf[F File](t Target[F]) reopener {
	return func(dataset, path string, v transport.Version) (File, bool) {
		if f, ok := t.Reopen(dataset, path, v); ok {
			return f, true
		}
		return nil, false // and no File that is a nil F
	}
}

var _ Target[*remote.File] = (*remote.Target)(nil)
