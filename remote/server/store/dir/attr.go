package dir

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// statAt returns the attributes of name in the directory dir, or of dir itself
// if name is empty, without following a symbolic link and without opening it.
func statAt(dir int, name string) (*wire.Attr, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(dir, name, flags, statMask, &st); err != nil {
		return nil, os.NewSyscallError("statx", err)
	}
	attr := newAttr(&st)
	version := versionOf(&st, fileHandle(dir, name))
	attr.Version = version[:]
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		link, err := readLink(dir, name, st.Size)
		if err != nil {
			return nil, err
		}
		attr.Symlink = link
	}
	return attr, nil
}

func newAttr(st *unix.Statx_t) *wire.Attr {
	return &wire.Attr{
		Ino:     st.Ino,
		Dev:     unix.Mkdev(st.Dev_major, st.Dev_minor),
		Mode:    uint32(st.Mode),
		Nlink:   st.Nlink,
		Uid:     st.Uid,
		Gid:     st.Gid,
		Size:    st.Size,
		Blocks:  st.Blocks,
		Blksize: st.Blksize,
		Rdev:    unix.Mkdev(st.Rdev_major, st.Rdev_minor),
		Atime:   st.Atime.Sec, AtimeNsec: st.Atime.Nsec,
		Mtime: st.Mtime.Sec, MtimeNsec: st.Mtime.Nsec,
		Ctime: st.Ctime.Sec, CtimeNsec: st.Ctime.Nsec,
		Btime: st.Btime.Sec, BtimeNsec: st.Btime.Nsec,
	}
}

// fileHandle returns what name_to_handle_at says, which has the inode's
// generation in it. Nil where the file system has no handles.
func fileHandle(dir int, name string) []byte {
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	h, _, err := unix.NameToHandleAt(dir, name, flags)
	if err != nil {
		return nil
	}
	return h.Bytes()
}

// versionOf names the state of a file that st and its handle describe.
func versionOf(st *unix.Statx_t, handle []byte) transport.Version {
	b := make([]byte, 0, 256)
	b = binary.LittleEndian.AppendUint64(b, unix.Mkdev(st.Dev_major, st.Dev_minor))
	b = binary.LittleEndian.AppendUint64(b, st.Ino)
	b = binary.LittleEndian.AppendUint64(b, st.Size)
	for _, t := range [...]unix.StatxTimestamp{st.Btime, st.Mtime, st.Ctime} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t.Sec))
		b = binary.LittleEndian.AppendUint32(b, t.Nsec)
	}
	b = append(b, handle...)
	sum := sha256.Sum256(b)
	return transport.Version(sum[:16])
}

func readLink(dir int, name string, size uint64) ([]byte, error) {
	if size == 0 || size > kernelPath {
		size = kernelPath
	}
	buf := make([]byte, size+1)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return nil, os.NewSyscallError("readlinkat", err)
	}
	return buf[:n], nil
}

// Stat implements [store.Tree].
func (d *tree) Stat(_ context.Context, path []byte) (*wire.Attr, error) {
	return d.stat(path)
}

func (d *tree) stat(path []byte) (*wire.Attr, error) {
	if _, isRoot, err := d.relative(path); err != nil {
		return nil, err
	} else if isRoot && d.kind != wire.Dataset_DIRECTORY {
		return d.statRoot()
	}
	fd, err := d.openPath(path)
	if err != nil {
		return nil, os.NewSyscallError("openat2", err)
	}
	defer unix.Close(fd)
	return d.attr(fd)
}

// attr describes what name, an O_PATH descriptor, is of.
func (d *tree) attr(name int) (*wire.Attr, error) {
	if d.kind == wire.Dataset_BLOCK_DEVICE {
		return statDevice(name)
	}
	return statAt(name, "")
}

// statRoot makes up the directory that a single file is shown in.
func (d *tree) statRoot() (*wire.Attr, error) {
	attr, err := d.stat([]byte(d.base))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("root of "), attr.Version...))
	attr.Version = sum[:16]
	attr.Ino, attr.Dev = 1, 0
	attr.Mode = unix.S_IFDIR | 0o555
	attr.Nlink = 2
	attr.Size, attr.Blocks = 0, 0
	return attr, nil
}
