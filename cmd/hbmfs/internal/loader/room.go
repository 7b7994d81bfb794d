package loader

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoRoom: the disk can't hold the data set.
var ErrNoRoom = errors.New("not enough room on the disk")

// block is what the last bytes of a file take, about.
const block = 4096

// checkRoom refuses files that the file system of dir has no room for.
func checkRoom(dir string, size int64, files int) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	need, free := uint64(size)+uint64(files)*block, st.Bavail*uint64(st.Bsize)
	switch {
	case files > 0 && need > free:
		return fmt.Errorf("%w: %s needs %s more, and %s are free", ErrNoRoom, dir, Amount(int64(min(need, math.MaxInt64))), Amount(int64(min(free, math.MaxInt64))))
	case st.Files > 0 && uint64(files) > st.Ffree:
		return fmt.Errorf("%w: %s needs %d files more, and its file system has %d inodes left", ErrNoRoom, dir, files, st.Ffree)
	}
	return nil
}
