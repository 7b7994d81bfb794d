package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// mountPoint makes an empty directory to mount on.
func (s *stage) mountPoint() (string, error) {
	return os.MkdirTemp(filepath.Join(s.scratch, "mnt"), "")
}

// mount starts a program that serves a mount at dir and stays in the
// foreground, and returns once the mount is there.
func mount(ctx context.Context, dir, name string, args ...string) (*proc, error) {
	p, err := start(name, args...)
	if err != nil {
		return nil, err
	}
	if err := p.until(ctx, "its mount", func() bool { return isMounted(dir) }); err != nil {
		return nil, errors.Join(err, unmount(dir, p))
	}
	return p, nil
}

// unmount takes a mount down and waits for the program that served it.
func unmount(dir string, p *proc) error {
	err := detach(dir)
	return errors.Join(err, p.stop())
}

// detach unmounts dir; if it stays busy, lazily, and says so.
func detach(dir string) error {
	for end := time.Now().Add(stopTimeout); ; time.Sleep(pollInterval) {
		switch err := syscall.Unmount(dir, 0); {
		case err == nil, errors.Is(err, syscall.EINVAL): // EINVAL: not mounted, any more
			return nil
		case !errors.Is(err, syscall.EBUSY) || time.Now().After(end):
			return fmt.Errorf("umount %s: %w; detached: %v", dir, err, syscall.Unmount(dir, syscall.MNT_DETACH))
		}
	}
}

// isMounted reports whether something is mounted at dir.
func isMounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && mountListed(string(table), dir)
}

// mountListed looks for dir in a mountinfo table (proc_pid_mountinfo(5)).
func mountListed(table, dir string) bool {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == dir {
			return true
		}
	}
	return false
}
