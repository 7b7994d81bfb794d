package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Detach takes the mount at place out of the name space: itself where it may, and
// otherwise by fusermount3. flags is 0 or MNT_DETACH. It returns an error
// wrapping EBUSY if the mount is in use.
func Detach(place string, flags int) error {
	err := unix.Unmount(place, flags|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EPERM) {
		return fusermount(place, flags)
	}
	return err
}

func fusermount(place string, flags int) error {
	args := []string{"-u", "--", place}
	if flags&unix.MNT_DETACH != 0 {
		args = []string{"-u", "-z", "--", place}
	}
	cmd := exec.Command("fusermount3", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("only root may unmount here without fusermount3; install Debian's fuse3")
	case strings.Contains(text, "busy"):
		return fmt.Errorf("%w: %s", unix.EBUSY, text)
	}
	return fmt.Errorf("fusermount3: %w: %s", err, text)
}
