package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"hbmfs/integration/process"
)

// unmountLimit is how long a mount may stay busy.
const unmountLimit = 10 * time.Second

// mounting is a mount of which a measurement has one of its own: it returns where
// that mount's files are, and how to take it down.
type mounting func(context.Context) (dir string, unmount func() error, err error)

// measure measures something at a path of a mount that has just been made.
func (m mounting) measure(name string, do func(context.Context, string) (float64, error)) measure {
	return func(ctx context.Context) (v float64, err error) {
		dir, unmount, err := m(ctx)
		if err != nil {
			return 0, err
		}
		defer func() {
			if downErr := unmount(); err == nil {
				err = downErr
			}
		}()
		return do(ctx, filepath.Join(dir, name))
	}
}

// mountPoint makes an empty directory to mount on.
func (s *stage) mountPoint() (string, error) {
	return os.MkdirTemp(filepath.Join(s.scratch, "mnt"), "")
}

// mount starts a program that serves a mount and stays in the foreground, and
// returns once the mount is there. args makes its arguments for a directory.
func (s *stage) mount(ctx context.Context, name string, args func(dir string) []string) (dir string, unmount func() error, err error) {
	m, err := s.mountBy(ctx, name, args)
	return m.dir, m.unmount, err
}

// served is a mount that a program beside the bench serves.
type served struct {
	dir     string
	daemon  *process.Process
	unmount func() error
}

// mountBy is mount that tells of the program too.
func (s *stage) mountBy(ctx context.Context, name string, args func(dir string) []string) (served, error) {
	dir, err := s.mountPoint()
	if err != nil {
		return served{}, err
	}
	p, err := process.Start(process.Command(name, args(dir)...))
	if err != nil {
		return served{}, err
	}
	unmount := func() error { return errors.Join(detach(dir), p.Stop()) }
	if err := p.Await(ctx, "its mount", func() bool { return process.IsMounted(dir) }); err != nil {
		return served{}, errors.Join(err, unmount())
	}
	return served{dir: dir, daemon: p, unmount: unmount}, nil
}

// detach unmounts dir; if it stays busy, lazily, and says so.
func detach(dir string) error {
	for end := time.Now().Add(unmountLimit); ; time.Sleep(2 * time.Millisecond) {
		switch err := syscall.Unmount(dir, 0); {
		case err == nil, errors.Is(err, syscall.EINVAL): // EINVAL: not mounted, any more
			return nil
		case !errors.Is(err, syscall.EBUSY) || time.Now().After(end):
			return fmt.Errorf("umount %s: %w; detached: %v", dir, err, syscall.Unmount(dir, syscall.MNT_DETACH))
		}
	}
}
