package dir

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// pieces cuts a path at slashes into parts that the kernel takes.
func pieces(path string) []string {
	var all []string
	for len(path) > kernelPath {
		i := strings.LastIndexByte(path[:kernelPath+1], '/') // names are much shorter
		all = append(all, path[:i])
		path = path[i+1:]
	}
	return append(all, path)
}

// openDeep opens a path that is longer than the kernel takes, piece by piece. A
// directory that was moved out of the export between two of them would lead out
// too: what was found must be found again, or the error is ESTALE.
func openDeep(root int, path string, flags uint64) (int, error) {
	parts := pieces(path)
	found := make([]int, 0, len(parts))
	dir := root
	for i, part := range parts {
		how := uint64(unix.O_PATH | unix.O_DIRECTORY)
		if i == len(parts)-1 {
			how = flags
		}
		fd, err := openBeneath(dir, part, how)
		if err != nil {
			closeFDs(found)
			return -1, err
		}
		found = append(found, fd)
		dir = fd
	}
	last := found[len(found)-1]
	err := findAgain(root, parts, found)
	closeFDs(found[:len(found)-1])
	if err != nil {
		unix.Close(last)
		return -1, err
	}
	return last, nil
}

// findAgain returns nil if each part leads from the one before to what was found
// there.
func findAgain(dir int, parts []string, found []int) error {
	for i, part := range parts {
		again, err := openBeneath(dir, part, unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		same, err := sameInode(again, found[i])
		unix.Close(again)
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("a directory was moved meanwhile: %w", unix.ESTALE)
		}
		dir = found[i]
	}
	return nil
}

func sameInode(a, b int) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Fstat(a, &sa); err != nil {
		return false, err
	}
	if err := unix.Fstat(b, &sb); err != nil {
		return false, err
	}
	return sa.Dev == sb.Dev && sa.Ino == sb.Ino, nil
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
