package store

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
)

// What the errnos that a store needs of its own mean here.
const (
	ErrNotExist = syscall.ENOENT
	ErrNotDir   = syscall.ENOTDIR
	ErrIsDir    = syscall.EISDIR
	ErrBadName  = syscall.EINVAL
	ErrTooLong  = syscall.ENAMETOOLONG
)

var (
	// ErrClosed is a tree's that is no longer served.
	ErrClosed = errors.New("the tree is closed")
	// ErrTooMany is [Tree.List]'s for a directory that is too large.
	ErrTooMany = errors.New("too many entries")
	// ErrWritable is of storage whose changes would go unnoticed.
	ErrWritable = errors.New("it is writable, and its changes would go unnoticed")
)

// Reserved is the name of a mount's own directory in its root, which no tree may
// have.
const Reserved = ".hbmfs"

const (
	// MaxName is the longest name that is served, in bytes: Linux's NAME_MAX.
	MaxName = 255
	// MaxPath is the longest path that is served, in bytes: far beyond what a tree
	// that someone uses has.
	MaxPath = 64 << 10
)

// CheckName returns nil if name can be one component of a path.
func CheckName(name []byte) error {
	switch {
	case len(name) == 0 || string(name) == "." || string(name) == "..":
		return ErrBadName
	case len(name) > MaxName:
		return ErrTooLong
	case bytes.ContainsAny(name, "/\x00"):
		return ErrBadName
	}
	return nil
}

// CheckPath returns nil if path, as a client sent it, is empty or a sequence of
// names joined by single slashes.
func CheckPath(path []byte) error {
	if len(path) == 0 {
		return nil
	}
	if len(path) > MaxPath {
		return fmt.Errorf("a path of %d bytes, where %d are served: %w", len(path), MaxPath, ErrTooLong)
	}
	for name := range bytes.SplitSeq(path, []byte{'/'}) {
		if err := CheckName(name); err != nil {
			return err
		}
	}
	return nil
}
