// Package onemount opens the mount that the paths of a command line are of. It holds no
// lock.
package onemount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// ErrSeveral: the paths are not of one mount.
var ErrSeveral = errors.New("not of one mount")

// Open opens the mount of paths, through the first of them that may be read, and returns
// those that are there. Of several, one that is not is told to failed and left out;
// answers says whether the daemon of a path's mount can answer. Errors wrap [ErrSeveral],
// [client.ErrNotHBMFS], what answers returned, or what the first path fails with.
func Open(paths []string, answers func(path string) error, failed func(error)) (m *client.Mount, there []string, err error) {
	there, err = present(paths, answers, failed)
	if err != nil {
		return nil, nil, err
	}
	for _, path := range there {
		m, next := client.OpenMount(path)
		if next == nil {
			return m, there, nil
		}
		if err == nil {
			err = next
		}
		if !errors.Is(next, fs.ErrPermission) {
			break
		}
	}
	return nil, nil, err
}

// present returns the paths that are there, at least one.
func present(paths []string, answers func(path string) error, failed func(error)) (there []string, err error) {
	var first unix.Stat_t
	var missing []error
	for _, path := range paths {
		if err := answers(path); err != nil && !gone(err) {
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); gone(err) {
			missing = append(missing, &os.PathError{Op: "stat", Path: path, Err: err})
			continue
		} else if err != nil {
			return nil, &os.PathError{Op: "stat", Path: path, Err: err}
		}
		if there = append(there, path); len(there) == 1 {
			first = st
		}
		if st.Dev != first.Dev {
			return nil, fmt.Errorf("%w: %s and %s", ErrSeveral, there[0], path)
		}
	}
	if len(there) == 0 {
		return nil, missing[0]
	}
	for _, err := range missing {
		failed(err)
	}
	return there, nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR)
}
