package mounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs"
	"hbmfs/fs/beside"
)

// Free takes the mount at place away from a daemon that does not answer, with what
// a killed one left. Every call under way on it ends with ECONNABORTED, and lets
// its locks go.
func Free(place string, entry Entry) error {
	if err := takeAway(place, entry); err != nil {
		return err
	}
	return beside.RemoveLeftover(entry.Dev, entry.Owner)
}

// exitWait is how long a daemon that is told to end may take.
const exitWait = 15 * time.Second

func takeAway(place string, entry Entry) error {
	aborted := abort(place, entry)
	if aborted == nil {
		if top, found, err := At(place); err == nil && (!found || top.Dev != entry.Dev) {
			return nil // nobody used it: it is unmounted
		}
	}
	if err := fs.Detach(place, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("clean up the mount at %s: %w", place, errors.Join(err, aborted))
	}
	return nil
}

// abort ends the connection between the kernel and the mount's daemon: root by
// MNT_FORCE, its owner by what fusectl has for him, where that is mounted.
func abort(place string, entry Entry) error {
	err := unix.Unmount(place, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EBUSY) {
		return nil
	}
	_, minor, _ := strings.Cut(entry.Dev, ":")
	if ctlErr := os.WriteFile("/sys/fs/fuse/connections/"+minor+"/abort", []byte("1"), 0); ctlErr != nil {
		return fmt.Errorf("what waits for it goes on waiting: %w; %w", err, ctlErr)
	}
	return nil
}

// FreeStopped takes the mount away from a daemon that is stopped, and has that
// go on in order to end.
func FreeStopped(ctx context.Context, place string, entry Entry, daemon Daemon) error {
	if err := takeAway(place, entry); err != nil {
		return err
	}
	err := daemon.signal(unix.SIGTERM)
	if err == nil {
		err = daemon.signal(unix.SIGCONT)
	}
	if err == nil {
		err = daemon.AwaitExit(ctx, exitWait)
	}
	if err != nil && daemon.State() == Stopped {
		return fmt.Errorf("unmounted, but its daemon (pid %d) is stopped, and keeps what it holds until 'kill -CONT %d' or 'kill -9 %d': %w",
			daemon.PID, daemon.PID, daemon.PID, err)
	}
	return err
}
