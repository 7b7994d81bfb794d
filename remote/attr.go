package remote

import (
	"bytes"
	"fmt"

	"hbmfs/remote/wire"
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

// Attr is what a target says of a file. Times are in nanoseconds since the
// epoch, Blocks in units of 512 bytes, Mode is as st_mode. Dev tells the inodes
// of the source's file systems apart.
type Attr struct {
	Ino, Dev                   uint64
	Mode, Nlink, UID, GID      uint32
	Size, Blocks               uint64
	Blksize                    uint32
	Rdev                       uint64
	Atime, Mtime, Ctime, Btime int64
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

// The longest name of an entry, and target of a symbolic link, in bytes.
const (
	maxName    = 255
	maxSymlink = 4095
)

func newAttr(a *wire.Attr) (Attr, error) {
	if a == nil {
		return Attr{}, fmt.Errorf("%w: no attributes", transport.ErrProtocol)
	}
	if len(a.Version) != len(transport.Version{}) {
		return Attr{}, fmt.Errorf("%w: a version of %d bytes", transport.ErrProtocol, len(a.Version))
	}
	if int64(a.Size) < 0 {
		return Attr{}, fmt.Errorf("%w: a size of %d", transport.ErrProtocol, a.Size)
	}
	if len(a.Symlink) > maxSymlink {
		return Attr{}, fmt.Errorf("%w: a symbolic link of %d bytes", transport.ErrProtocol, len(a.Symlink))
	}
	return Attr{
		Ino: a.Ino, Dev: a.Dev,
		Mode: a.Mode, Nlink: a.Nlink, UID: a.Uid, GID: a.Gid,
		Size: a.Size, Blocks: a.Blocks,
		Blksize: a.Blksize,
		Rdev:    a.Rdev,
		Atime:   a.AtimeNs, Mtime: a.MtimeNs, Ctime: a.CtimeNs, Btime: a.BtimeNs,
		Version: transport.Version(a.Version),
		Symlink: string(a.Symlink),
	}, nil
}

func newEntry(e *wire.Entry) (Entry, error) {
	if err := checkName(e.GetName()); err != nil {
		return Entry{}, err
	}
	attr, err := newAttr(e.Attr)
	return Entry{Name: string(e.Name), Attr: attr}, err
}

// checkName refuses names that would mean something else to this host's kernel.
func checkName(name []byte) error {
	if n := len(name); n == 0 || n > maxName || bytes.ContainsAny(name, "/\x00") || string(name) == "." || string(name) == ".." {
		return fmt.Errorf("%w: an entry named %q", transport.ErrProtocol, name)
	}
	return nil
}

func newDatasets(list []*wire.Dataset) ([]Dataset, error) {
	datasets := make([]Dataset, 0, len(list))
	for _, d := range list {
		if err := checkName(d.GetName()); err != nil {
			return nil, err
		}
		if d.Kind != wire.Dataset_DIRECTORY {
			if err := checkName(d.Base); err != nil {
				return nil, err
			}
		}
		datasets = append(datasets, Dataset{Name: string(d.Name), Kind: Kind(d.Kind), Base: string(d.Base)})
	}
	return datasets, nil
}
