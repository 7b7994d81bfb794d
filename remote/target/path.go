package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
)

// maxPath is the longest path that the kernel takes, in bytes.
const maxPath = unix.PathMax - 1

// beneath keeps a lookup inside of the export, whatever happens to the tree
// meanwhile. A symbolic link in the middle of a path is ELOOP: the kernel of
// the mount resolves links, in its own tree.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS

// checkName returns nil if name can be one component of a path.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return unix.EINVAL
	case len(name) > maxName:
		return unix.ENAMETOOLONG
	}
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return unix.EINVAL
		}
	}
	return nil
}

// checkPath returns nil if path, as a client sent it, is empty or a sequence of
// names joined by single slashes.
func checkPath(path []byte) error {
	if len(path) == 0 {
		return nil
	}
	if len(path) > maxPath {
		return unix.ENAMETOOLONG
	}
	for name := range bytes.SplitSeq(path, []byte{'/'}) {
		if err := checkName(string(name)); err != nil {
			return err
		}
	}
	return nil
}

// relative returns what to look up below d.root. The root of a dataset that is
// a single file is not in the source: isRoot tells those who must make it up.
func (d *dataset) relative(path []byte) (rel string, isRoot bool, err error) {
	if err := checkPath(path); err != nil {
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
func (d *dataset) openPath(path []byte) (int, error) {
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

func (d *dataset) openDir(path []byte) (int, error) {
	return d.open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

func (d *dataset) open(path []byte, flags uint64) (int, error) {
	rel, isRoot, err := d.relative(path)
	if err != nil {
		return -1, err
	}
	if isRoot && d.kind != wire.Dataset_DIRECTORY {
		return -1, unix.EISDIR // made up, not in the source
	}
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: beneath}
	for {
		fd, err := unix.Openat2(d.root, rel, &how)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
