package client

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// kind is what a name is of.
type kind string

const (
	regularFile kind = "regular file"
	directory   kind = "directory"
)

func kindOfMode(mode uint32) kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return regularFile
	case unix.S_IFDIR:
		return directory
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "device"
	}
	return "special file"
}

// kindOf is what path is of, links followed.
func kindOf(path string) (kind, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", err
	}
	return kindOfMode(st.Mode), nil
}

// explainOpen adds to what open(2) answers what it means for a file of a mount.
func explainOpen(path string, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	switch errno {
	case unix.ENFILE:
		return explain(errno)
	case unix.ENXIO, unix.EACCES: // a socket; a device in a mount with nodev
		if kind, err := kindOf(path); err == nil && kind != regularFile && kind != directory {
			return fmt.Errorf("%w: it is a %s: %w", ErrNotRegular, kind, errno)
		}
	}
	return err
}
