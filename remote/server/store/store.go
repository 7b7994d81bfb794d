// Package store says where a target's names and bytes come from: what a store
// has to offer, and in which words it answers. Everything above it, sessions,
// handles, terms and events, is package server's; everything below, descriptors
// and inodes or requests to some other storage, is a store's own.
//
// A version is the store's: 16 bytes that never name two contents. Paths and
// names are bytes, as a client sent them: a store checks them with [CheckPath].
//
// Errors wrap [transport.ErrStale], [transport.ErrRange] or
// [transport.ErrSource], one of this package, the context's, or an errno
// ([syscall.Errno]), which goes to the program that asked as it is.
//
// The package does no I/O and holds no lock.
package store

import (
	"context"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Store is what one export serves, over time: now one tree, later maybe another
// in its place.
type Store interface {
	// Open returns the tree that is there, or why it can't be served.
	Open() (Tree, error)
	// Follow looks for another tree until ctx ends. It calls changed for each, or
	// with why there is none any more; a call ends before the next. It is called
	// once, after Open, and does not return while storage does not answer.
	Follow(ctx context.Context, changed func(now Tree, why error))
	// Look returns once Follow has looked at what is there now, or ctx has ended.
	// The error is of a tree that must not be served to new sessions.
	Look(ctx context.Context) error
}

// Tree is names, and what they lead to. It never becomes another one's: the
// root stays the same directory, file or bucket. It is closed by who got it, and
// may be while it is used: calls answer [ErrClosed] then. Its methods may be
// called concurrently.
type Tree interface {
	Info() Info
	// Stat describes what path names, without following a symbolic link. The root
	// is the empty path.
	Stat(ctx context.Context, path []byte) (*wire.Attr, error)
	// List gives page the entries of a directory, some at a time, until page
	// returns an error. Each is described as Stat does; entries that vanish
	// meanwhile are left out. A directory of more than most, if that is not
	// negative, is [ErrTooMany], and nothing in it is described.
	List(ctx context.Context, path []byte, most int, page func([]*wire.Entry) error) error
	// Open opens the version that is there, and describes it.
	Open(ctx context.Context, path []byte) (Object, *wire.Attr, error)
	Statfs(ctx context.Context) (*wire.StatfsReply, error)
	// Watched reports whether no settled object can have changed without that its
	// holder is about to be told. While it is false, nothing may be vouched for.
	Watched() bool
	// CatchUp looks, and has told holders of all that has changed when it returns.
	CatchUp()
	Close()
}

// Info is what a tree is.
type Info struct {
	Kind wire.Dataset_Kind
	Base string   // the one name in the tree of a single file
	Root [16]byte // names the root, and no other tree's
}

// Object is one version of a file, open for reading. Its methods may be called
// concurrently, but for Close.
type Object interface {
	Version() transport.Version
	Size() int64 // in bytes
	// Unsettled is "" where the version may be vouched for until the holder is
	// told, or says why the bytes can change without that.
	Unsettled() string
	// Hold registers, once, who is told before the version changes. It returns
	// false if it has changed already.
	Hold(Holder) bool
	// TryRead and Read are as [transport.Source] has them. They check that what
	// was read is the version's.
	TryRead(off int64, dst []byte) error
	Read(ctx context.Context, off int64, dst []byte) error
	// Close ends what the store does to notice changes. The holder may be told of
	// one meanwhile.
	Close()
}

// Sparse is an Object that knows where it has data.
type Sparse interface {
	// Spans returns the bounds of spans of data from off on: where each begins and
	// ends. They cover the file up to end; there may be more beyond.
	Spans(ctx context.Context, off int64) (data []uint64, end int64, err error)
}

// Linked is an Object that knows whether there is a name that leads to it.
type Linked interface {
	// Linked is true where that can't be told.
	Linked() bool
}

// Holder is who has an object open.
type Holder interface {
	// Revoke says that the version is about to change, or has: reads of it fail
	// from now on. It returns at once, and calls nothing of the store. The store
	// keeps whoever changes the version waiting until the function that it returns
	// has returned: then nobody vouches for the version any more.
	Revoke() (released func())
}
