package nic

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// acquire locks the slot until release or the end of the process. An error that
// wraps [ErrBusy] names the process that has it.
func (s *slot) acquire() error {
	f, err := os.OpenFile(s.base+lockSuffix, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if err := f.Chmod(0o600); err != nil { // whoever can open it can keep it locked
		f.Close()
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%w by %s", ErrBusy, holder(f))
		}
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	s.lock = f
	return s.sign()
}

// sign writes into the lock file who has it, for the others' errors.
func (s *slot) sign() error {
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		comm = []byte("unknown")
	}
	line := fmt.Sprintf("pid %d (%s)\n", os.Getpid(), bytes.TrimSpace(comm))
	err = s.lock.Truncate(0)
	if err == nil {
		_, err = s.lock.WriteAt([]byte(line), 0)
	}
	if err != nil {
		s.release()
	}
	return err
}

// holder is what the process that has the lock wrote into it.
func holder(f *os.File) string {
	b := make([]byte, 128)
	n, _ := f.ReadAt(b, 0)
	line, _, whole := strings.Cut(string(b[:n]), "\n")
	if !whole {
		return "another process"
	}
	return fmt.Sprintf("%q", line)
}

// release leaves the lock file where it is: another process may be waiting to
// lock the same one.
func (s *slot) release() {
	if s.lock != nil {
		s.lock.Close()
		s.lock = nil
	}
}

// secure makes the state directory this user's alone: what lies there is believed,
// and who can open a lock file can keep it locked.
func secure(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkDir(dir)
}

// checkDir closes a directory to others, unless they could have changed it.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch mode := info.Mode(); {
	case !mode.IsDir():
		return &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	case owner != os.Geteuid() || mode.Perm()&0o022 != 0:
		return fmt.Errorf("%w: %s has mode %v and belongs to user %d: others may change it, remove it", fs.ErrPermission, dir, mode, owner)
	case mode.Perm() != 0o700:
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// place is where this process's settings are valid.
type place struct {
	boot  string
	netns uint64
}

func here() (place, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return place{}, err
	}
	info, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return place{}, err
	}
	return place{string(bytes.TrimSpace(boot)), info.Sys().(*syscall.Stat_t).Ino}, nil
}
