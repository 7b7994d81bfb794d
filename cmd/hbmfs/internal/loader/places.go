package loader

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// placesPrefix begins the names of directories that have places of mounts.
const placesPrefix = "hbmfs-loader-"

// makePlaces makes a directory for places of mounts, which is locked until the file
// is closed: by that others tell it from what a killed process left.
func makePlaces() (string, *os.File, error) {
	for {
		dir, err := os.MkdirTemp("", placesPrefix)
		if err != nil {
			return "", nil, err
		}
		lock, err := lockDir(dir)
		if err == nil {
			if _, err = os.Lstat(dir); err == nil {
				return dir, lock, nil
			}
			_ = lock.Close()
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) { // else somebody sweeps it
			return "", nil, errors.Join(err, os.Remove(dir))
		}
	}
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: dir, Err: err}, f.Close())
	}
	return f, nil
}

// sweepPlaces removes directories of [makePlaces] that killed processes have left.
// Of what can't be removed, such as a place where a mount still is, all stays.
func sweepPlaces(names []string) {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), placesPrefix+"*"))
	for _, dir := range left {
		lock, err := lockDir(dir)
		if err != nil {
			continue
		}
		for _, name := range names {
			_ = unix.Unlinkat(int(lock.Fd()), name, unix.AT_REMOVEDIR)
		}
		_ = unix.Rmdir(dir)
		_ = lock.Close()
	}
}
