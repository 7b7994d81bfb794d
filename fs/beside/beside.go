// Package beside keeps the directory of a control socket that can't lie in its mount:
// it makes it, and removes it, also what a daemon that was killed left of it. It knows
// nothing of the socket but its name. It holds no lock.
package beside

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is the name of the control socket in its directory.
const Socket = "ctl"

// Dir is a directory in [os.TempDir] for the control socket of a mount that
// can't have it inside. It is locked, so that systemd-tmpfiles does not take it for
// old, and others can tell it from what a killed daemon left.
type Dir struct {
	*os.File
	Path string // absolute
}

// prefix is what the names of such directories of the mount dev (MAJOR:MINOR)
// of user uid begin with. They end at random, or others could take them.
func prefix(dev string, uid int) string { return fmt.Sprintf("hbmfs-%d-%s-", uid, dev) }

// Make makes the directory with these permissions.
func Make(dev string, mode os.FileMode) (*Dir, error) {
	path, err := os.MkdirTemp("", prefix(dev, os.Geteuid()))
	if err != nil {
		return nil, fmt.Errorf("%w; set TMPDIR to a directory that can be written", err)
	}
	d := &Dir{Path: path}
	if d.Path, err = filepath.Abs(path); err == nil {
		d.File, err = os.OpenFile(d.Path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	if err := errors.Join(unix.Flock(int(d.Fd()), unix.LOCK_SH|unix.LOCK_NB), d.Chmod(mode)); err != nil {
		return nil, errors.Join(fmt.Errorf("directory %s: %w", d.Path, err), d.Remove())
	}
	return d, nil
}

// Remove removes the directory and what it holds, and closes it.
func (d *Dir) Remove() error {
	return errors.Join(os.RemoveAll(d.Path), d.Close())
}

// leftoverWait is how long a daemon that was killed may take to be gone.
const leftoverWait = time.Second

// RemoveLeftover removes what a killed daemon of user uid left for its mount dev
// (MAJOR:MINOR) in [os.TempDir], if anything. What a daemon still has stays.
func RemoveLeftover(dev string, uid uint32) error {
	base, err := os.Open(os.TempDir())
	if err != nil {
		return err
	}
	defer base.Close()
	names, err := base.Readdirnames(-1)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, prefix(dev, int(uid)))
	})
	for _, name := range names {
		err = errors.Join(err, removeLeft(base, name, uid))
	}
	return err
}

// removeLeft removes the directory name of base if it is uid's, and nobody's that
// runs. It follows no link, and removes no more than a daemon makes.
func removeLeft(base *os.File, name string, uid uint32) error {
	fd, err := unix.Openat(int(base.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // not a daemon's
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Uid != uid || !lockLeft(fd) {
		return err
	}
	if err := unix.Unlinkat(fd, Socket, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", filepath.Join(base.Name(), name, Socket), err)
	}
	if err := unix.Unlinkat(int(base.Fd()), name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", filepath.Join(base.Name(), name), err)
	}
	return nil
}

// lockLeft reports whether nobody else locks the directory, after a while.
func lockLeft(fd int) bool {
	for began := time.Now(); unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil; {
		if time.Since(began) > leftoverWait {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}
