package main

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// open opens the mount of all paths, through the first of them that may be read.
func (o *warmOptions) open(paths []string) (m *client.Mount, err error) {
	if err := checkAnswers(paths[0]); err != nil {
		return nil, err
	}
	if err := o.checkPaths(paths); err != nil {
		return nil, err
	}
	for _, path := range paths {
		var next error
		if m, next = client.OpenMount(path); next == nil {
			return m, nil
		}
		if err == nil {
			err = next
		}
		if !errors.Is(next, fs.ErrPermission) {
			break
		}
	}
	return nil, err
}

// checkPaths refuses paths that are not of one mount, or not what an order needs.
func (o *warmOptions) checkPaths(paths []string) error {
	var first unix.Stat_t
	for i, path := range paths {
		var st unix.Stat_t
		if err := checkAnswers(path); err != nil {
			return err
		}
		if err := unix.Stat(path, &st); err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		switch {
		case i == 0:
			first = st
		case st.Dev != first.Dev:
			return usagef("%s and %s are not of one mount: warm each mount by itself", shown(paths[0]), shown(path))
		}
		if o.order != "" && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return usagef("%s is no directory; with --follow-order, give the one that its paths are below", shown(path))
		}
	}
	return nil
}
