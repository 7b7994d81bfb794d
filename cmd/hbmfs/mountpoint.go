package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"hbmfs/fs"

	"golang.org/x/sys/unix"
)

// resolvePlace returns path as the mount table has it: absolute, without
// symbolic links. If it is an hbmfs mount already, the mount is not touched: its
// daemon may be dead or stuck.
func resolvePlace(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, err)
	}
	place := filepath.Join(parent, filepath.Base(abs))
	if top, found, err := mountAt(place); err != nil || found && top.fsType == fsType {
		return place, err
	}
	if place, err = filepath.EvalSymlinks(place); err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, err)
	}
	return place, nil
}

// preparePlace makes sure that something can be mounted at place: it detaches
// what a killed daemon left there, and refuses a live mount of ours.
func preparePlace(place string) error {
	for {
		top, found, err := mountAt(place)
		if err != nil {
			return err
		}
		if !found || top.fsType != fsType {
			return checkDirectory(place)
		}
		daemon := findDaemon(top)
		daemon.close()
		if daemon.found() || !isDead(place) {
			return fmt.Errorf("%s is mounted already, from %s; 'hbmfs umount %s' first", place, top.source, place)
		}
		if err := cleanUp(place); err != nil {
			return err
		}
	}
}

// checkDirectory refuses what can't be mounted on, and a directory whose content
// the mount would hide.
func checkDirectory(place string) error {
	info, err := os.Stat(place)
	if err != nil {
		return fmt.Errorf("mount point %s: %w", place, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("mount point %s is not a directory; make one to mount on", place)
	}
	entries, err := os.ReadDir(place)
	if err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("mount point %s is not empty: it has %s; mount on an empty directory", place, entries[0].Name())
	}
	return nil
}

// deadWait bounds how long a mount may take to show that its daemon is alive.
const deadWait = 2 * time.Second

// isDead reports whether the daemon behind the mount at place is gone: statfs
// is answered by no cache of the kernel's. A mount that does not answer at all is
// not dead.
func isDead(place string) bool {
	answer := make(chan error, 1)
	go func() {
		var st unix.Statfs_t
		answer <- unix.Statfs(place, &st)
	}()
	select {
	case err := <-answer:
		return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
	case <-time.After(deadWait):
		return false
	}
}

// cleanUp detaches what a daemon that died left at place.
func cleanUp(place string) error {
	if err := fs.Detach(place, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("clean up the dead mount at %s: %w", place, err)
	}
	return nil
}
