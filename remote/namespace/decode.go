package namespace

import (
	"bytes"
	"fmt"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// The longest name of an entry, and target of a symbolic link, in bytes.
const (
	maxName    = 255
	maxSymlink = 4095
)

// DecodeAttr returns attributes that came. The error wraps [transport.ErrProtocol],
// as that of all that decodes does.
func DecodeAttr(a *wire.Attr) (Attr, error) {
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
	if n := max(a.AtimeNsec, a.MtimeNsec, a.CtimeNsec, a.BtimeNsec); n >= 1e9 {
		return Attr{}, fmt.Errorf("%w: a time stamp with %d nanoseconds", transport.ErrProtocol, n)
	}
	return Attr{
		Ino: a.Ino, Dev: a.Dev,
		Mode: a.Mode, Nlink: a.Nlink, UID: a.Uid, GID: a.Gid,
		Size: a.Size, Blocks: a.Blocks,
		Blksize: a.Blksize,
		Rdev:    a.Rdev,
		Atime:   Time{a.Atime, a.AtimeNsec}, Mtime: Time{a.Mtime, a.MtimeNsec},
		Ctime: Time{a.Ctime, a.CtimeNsec}, Btime: Time{a.Btime, a.BtimeNsec},
		Version: transport.Version(a.Version),
		Symlink: string(a.Symlink),
	}, nil
}

// DecodeEntry returns an entry that came.
func DecodeEntry(e *wire.Entry) (Entry, error) {
	if err := checkName(e.GetName()); err != nil {
		return Entry{}, err
	}
	attr, err := DecodeAttr(e.Attr)
	return Entry{Name: string(e.Name), Attr: attr}, err
}

// checkName refuses names that would mean something else to this host's kernel.
func checkName(name []byte) error {
	if n := len(name); n == 0 || n > maxName || bytes.ContainsAny(name, "/\x00") || string(name) == "." || string(name) == ".." {
		return fmt.Errorf("%w: an entry named %q", transport.ErrProtocol, name)
	}
	return nil
}

// DecodeDatasets returns the datasets that a session serves.
func DecodeDatasets(list []*wire.Dataset) ([]Dataset, error) {
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
