package store

import (
	"context"
	"errors"

	"hbmfs/transport"
)

// ErrUndelegated is of a name that can't be delegated, now or at all.
var ErrUndelegated = errors.New("it can't be delegated")

// Delegating is a Tree that can let a holder believe a name.
type Delegating interface {
	// Undelegated says why no name of the tree can be delegated; "" means that they
	// can.
	Undelegated() string
	// Delegate has holder told before path leads to anything but the version v of a
	// file, which the caller has open, or to that with other attributes than it has
	// now, but for atime: whoever changes that waits as for a change of the version. A
	// file system that is mounted over a part of the path does not wait: holder is
	// told at once. The holder may be told before Delegate returns.
	//
	// The error wraps [ErrUndelegated], or [transport.ErrStale] if the path leads
	// elsewhere.
	Delegate(ctx context.Context, path []byte, v transport.Version, holder Holder) (Delegation, error)
}

// Delegation is a name that its holder believes.
type Delegation interface {
	// Close ends it. The holder may be told meanwhile.
	Close()
}
