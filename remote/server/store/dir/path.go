package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// kernelPath is the longest path that the kernel takes at once, in bytes.
const kernelPath = unix.PathMax - 1

// beneath keeps a lookup inside of the export, whatever happens to the tree
// meanwhile. A symbolic link in the middle of a path is ELOOP: the kernel of
// the mount resolves links, in its own tree.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS

// relative returns what to look up below d.root. The root of a dataset that is
// a single file is not in the source: isRoot tells those who must make it up.
func (d *tree) relative(path []byte) (rel string, isRoot bool, err error) {
	if err := store.CheckPath(path); err != nil {
		return "", false, err
	}
	switch {
	case len(path) == 0:
		return ".", true, nil
	case d.kind == wire.Dataset_DIRECTORY || string(path) == d.base:
		return string(path), false, nil
	case bytes.HasPrefix(path, []byte(d.base+"/")):
		return "", false, unix.ENOTDIR
	}
	return "", false, unix.ENOENT
}

// openPath returns an O_PATH descriptor of whatever path names; a symbolic link
// at its end is not followed.
func (d *tree) openPath(path []byte) (int, error) {
	return d.open(path, unix.O_PATH|unix.O_NOFOLLOW)
}

// procFD has this process's descriptors.
const procFD = "/proc/self/fd/"

// reopen opens for reading what name, an O_PATH descriptor, is of. Callers have
// checked its type: opening a device or a FIFO can have effects. It fails with
// EAGAIN while another program holds a write lease, and asks for that back.
func reopen(name int) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	path := procFD + strconv.Itoa(name)
	for {
		fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
		if err == unix.EPERM { // not the owner
			fd, err = unix.Open(path, flags, 0)
		}
		if err != unix.EINTR {
			return fd, os.NewSyscallError("open", err)
		}
	}
}

const (
	// writeLeaseWait bounds how long an open waits for a write lease to end.
	writeLeaseWait  = time.Second
	writeLeasePause = 5 * time.Millisecond
)

// openRead is reopen, and waits a while for the holder of a write lease.
func openRead(ctx context.Context, name int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, writeLeaseWait)
	defer cancel()
	for {
		fd, err := reopen(name)
		if !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
		if !pause(ctx, writeLeasePause) {
			return -1, fmt.Errorf("another program holds a write lease: %w", err)
		}
	}
}

// pause returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (d *tree) openDir(path []byte) (int, error) {
	return d.open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

func (d *tree) open(path []byte, flags uint64) (int, error) {
	rel, isRoot, err := d.relative(path)
	if err != nil {
		return -1, err
	}
	if isRoot && d.kind != wire.Dataset_DIRECTORY {
		return -1, unix.EISDIR // made up, not in the source
	}
	fd := -1
	err = d.withRoot(func(root int) (err error) {
		if len(rel) > kernelPath {
			fd, err = openDeep(root, rel, flags)
		} else {
			fd, err = openBeneath(root, rel, flags)
		}
		if err == unix.ENOENT && isDeleted(root) {
			return unix.ESTALE // the whole tree is no more, rather than a name
		}
		return err
	})
	return fd, err
}

// openBeneath opens what path, of kernelPath bytes at most, names below dir.
func openBeneath(dir int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: beneath}
	for {
		fd, err := own.openat2(dir, path, how)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func isDeleted(dir int) bool {
	var st unix.Stat_t
	return unix.Fstat(dir, &st) == nil && st.Nlink == 0
}
