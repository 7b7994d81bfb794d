package dir

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// tree is what an export's path led to when it was looked at. It never changes:
// another directory there is another tree.
type tree struct {
	files *Files
	kind  wire.Dataset_Kind
	root  *os.File // O_PATH: the exported directory, or the one that base is in
	base  string   // FILE and BLOCK_DEVICE: the one name that is served
	at    location

	undelegated string // why no name of it can be delegated; set by probe
}

// location tells one directory from the next at the same path. While the
// directory is held open, no other has the same.
type location struct {
	path     string // without symbolic links
	dev, ino uint64
	handle   string // of the file system's own; "" where it has none
	mount    uint64 // id of the mount that the directory is in
	top      bool   // it is the root of that mount
}

// find opens what is at path, which has no symbolic links. The descriptor
// outlives renames of it.
func (t *Files) find(path string) (*tree, error) {
	d := &tree{files: t}
	dir, err := d.split(path)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	d.root = os.NewFile(uintptr(fd), dir)
	if d.at, err = locate(fd, dir); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// split finds out what path is, and returns the directory to hold for it.
func (d *tree) split(path string) (dir string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		d.kind = wire.Dataset_DIRECTORY
		return path, nil
	case mode.IsRegular():
		d.kind = wire.Dataset_FILE
	case mode.Type() == os.ModeDevice:
		d.kind = wire.Dataset_BLOCK_DEVICE
	default:
		return "", fmt.Errorf("%s is neither a directory, a regular file nor a block device", path)
	}
	dir, d.base = filepath.Split(path)
	if d.base == store.Reserved {
		return "", fmt.Errorf("%s: a mount needs the name %s for itself", path, store.Reserved)
	}
	return dir, nil
}

func locate(fd int, path string) (location, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return location{}, os.NewSyscallError("statx", err)
	}
	return location{
		path: path,
		dev:  unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino,
		handle: string(fileHandle(fd, "")),
		mount:  st.Mnt_id, // 0 before Linux 5.8
		top:    st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
	}, nil
}

// probe tries what every request will do, so that a bad export fails at start.
func (d *tree) probe() error {
	fd, err := d.openPath([]byte(d.base))
	if errors.Is(err, unix.ENOSYS) {
		return errors.New("this kernel has no openat2: Linux 5.6 or later is needed")
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := os.Stat(procFD); err != nil {
		return fmt.Errorf("files are opened through /proc, which is not mounted: %w", err)
	}
	if _, err = d.attr(fd); err == nil {
		d.probeNames()
	}
	return err
}

// probeNames tries whether names can be delegated.
func (d *tree) probeNames() {
	switch {
	case d.kind != wire.Dataset_DIRECTORY:
		d.undelegated = "only names in a directory are delegated"
		return
	case d.files.names.off:
		d.undelegated = "the target was told to delegate none"
		return
	}
	if d.undelegated = d.tryNames(); d.undelegated != "" {
		d.files.log.Info("names are not delegated: mounts ask for each file that is opened", "path", d.at.path, "why", d.undelegated)
	}
}

// tryNames delegates the root for a moment, and returns "" or why that can't be done.
func (d *tree) tryNames() string {
	fd, err := d.openDir(nil)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	return tryDelegation(d.files.names.kernel, fd, d.files.watch.thread)
}

// withRoot runs f, which may use the descriptor of the root until it returns.
func (d *tree) withRoot(f func(root int) error) error {
	raw, err := d.root.SyscallConn()
	if err != nil {
		return store.ErrClosed
	}
	var result error
	if raw.Control(func(root uintptr) { result = f(int(root)) }) != nil {
		return store.ErrClosed
	}
	return result
}

// Close implements [store.Tree]. What calls that are under way do with the root
// goes on to its end.
func (d *tree) Close() { d.root.Close() }

// same reports whether now, opened while d was, is the same place.
func (d *tree) same(now *tree) bool {
	return d.kind == now.kind && d.base == now.base &&
		d.at.dev == now.at.dev && d.at.ino == now.at.ino && d.at.mount == now.at.mount
}

// checkMounted refuses now, at the path of d, if it is what an unmounted file
// system has left there: nothing.
func (d *tree) checkMounted(now *tree) error {
	if now.kind != wire.Dataset_DIRECTORY || d.at.path != now.at.path || !d.at.top || now.at.top {
		return nil
	}
	fd, err := now.openDir(nil)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var r dirReader
	err = r.next(fd)
	if err == nil && len(r.names) == 0 {
		err = fmt.Errorf("%s is where a file system was mounted, and is empty now: mount it again, or restart the target to serve the empty directory", now.at.path)
	}
	return err
}

// Info implements [store.Tree].
func (d *tree) Info() store.Info {
	id := binary.LittleEndian.AppendUint64(nil, d.at.dev)
	id = binary.LittleEndian.AppendUint64(id, d.at.ino)
	sum := sha256.Sum256(append(id, d.at.handle...))
	return store.Info{Kind: d.kind, Base: d.base, Root: [16]byte(sum[:16])}
}

// Statfs implements [store.Tree].
func (d *tree) Statfs(context.Context) (*wire.StatfsReply, error) {
	var st unix.Statfs_t
	if err := d.withRoot(func(root int) error { return unix.Fstatfs(root, &st) }); err != nil {
		return nil, err
	}
	return &wire.StatfsReply{
		Blocks:  st.Blocks,
		Bfree:   st.Bfree,
		Bavail:  st.Bavail,
		Files:   st.Files,
		Ffree:   st.Ffree,
		Bsize:   uint32(st.Bsize),
		Namelen: uint32(st.Namelen),
		Frsize:  uint32(st.Frsize),
	}, nil
}

// checkReserved refuses a tree that has the mount's own name in its root.
func (d *tree) checkReserved() error {
	if d.kind != wire.Dataset_DIRECTORY {
		return nil
	}
	fd, err := d.openPath([]byte(store.Reserved))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		unix.Close(fd)
	}
	return fmt.Errorf("it has an entry named %s, which a mount needs for itself: rename it, or export a directory without it", store.Reserved)
}

// Watched implements [store.Tree].
func (d *tree) Watched() bool { return d.files.watch.areWatched() }

// CatchUp implements [store.Tree].
func (d *tree) CatchUp() { d.files.watch.lookAtAll() }
