package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// shell is in a root that has programs of its own.
const shell = "usr/bin/dash"

// furnish gives a root what the installation of its packages would have made. An
// empty name is the machine itself, which lacks nothing.
func furnish(root string) error {
	if root == "" {
		return nil
	}
	null := filepath.Join(root, "dev", "null")
	if err := unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make %s: %w", null, err)
	}
	if err := os.Symlink("mawk", filepath.Join(root, "usr", "bin", "awk")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// inRoot has a command run in a root, which sees its own processes only.
func inRoot(root string) []string {
	return []string{"unshare", "--mount", "--pid", "--fork", "--root=" + root, "--mount-proc"}
}
