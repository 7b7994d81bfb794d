package fs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

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

// fusermountWait bounds how long fusermount3 may take.
const fusermountWait = 5 * time.Second

// lookUpFusermount looks along PATH once.
var lookUpFusermount = sync.OnceValues(func() (string, error) { return exec.LookPath("fusermount3") })

func fusermount(place string, flags int) error {
	args := []string{"-u", "--", place}
	if flags&unix.MNT_DETACH != 0 {
		args = []string{"-u", "-z", "--", place}
	}
	path, err := lookUpFusermount()
	if err != nil {
		return errors.New("only root may unmount here without fusermount3; install Debian's fuse3")
	}
	ctx, cancel := context.WithTimeout(context.Background(), fusermountWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	switch {
	case err == nil:
		return nil
	case strings.Contains(text, "busy"):
		return fmt.Errorf("%w: %s", unix.EBUSY, text)
	}
	return fmt.Errorf("fusermount3: %w: %s", err, text)
}
