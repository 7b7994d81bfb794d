// Package namespace is what a target says of names: its datasets, the entries of
// directories, and their attributes.
//
// What comes from a target is decoded here, and checked: no name or time stamp
// gets past that would mean something else to this host's kernel. The package
// holds no state and takes no lock.
package namespace

import (
	"fmt"

	"hbmfs/transport"
)

// Kind is what a dataset is on its target.
type Kind uint8

const (
	// Directory is a tree.
	Directory Kind = iota
	// RegularFile is a single file, shown in a directory of its own.
	RegularFile
	// BlockDevice is a single read-only device, shown like a RegularFile.
	BlockDevice
)

func (k Kind) String() string {
	switch k {
	case Directory:
		return "directory"
	case RegularFile:
		return "file"
	case BlockDevice:
		return "block device"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Dataset is an export of the target. Base is the name of its one file, if it is
// not a [Directory].
type Dataset struct {
	Name string
	Kind Kind
	Base string
}

// Time is a time stamp as statx(2) has it: seconds since the epoch, which may be
// negative, and nanoseconds after that. An int64 of nanoseconds would end in
// 2262, and the time stamps of most file systems do not.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Attr is what a target says of a file. Blocks is in units of 512 bytes, Mode is
// as st_mode. Dev tells the inodes of the source's file systems apart.
type Attr struct {
	Ino, Dev                   uint64
	Mode, Nlink, UID, GID      uint32
	Size, Blocks               uint64
	Blksize                    uint32
	Rdev                       uint64
	Atime, Mtime, Ctime, Btime Time
	Version                    transport.Version
	Symlink                    string // the target of a symbolic link
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Attr Attr
}

// Statfs is as statfs(2) says of a dataset's file system.
type Statfs struct {
	Blocks, Bfree, Bavail  uint64
	Files, Ffree           uint64
	Bsize, Namelen, Frsize uint32
}
