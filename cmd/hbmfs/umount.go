package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hbmfs/fs"
	"hbmfs/fs/client"
)

// Bounds on how long umount waits: for a busy mount, which may only be closing
// its last file, and for the daemon to end.
const (
	busyWait   = time.Second
	finishWait = 15 * time.Second
)

const umountHelp = `Unmount an hbmfs mount, and wait until its daemon has finished. What a killed
daemon left behind is cleaned up. A mount in use stays, and is named with those
who use it.`

func newUmountCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Unmount an hbmfs mount",
		Long:    umountHelp,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUmount(cmd.Context(), args[0])
		},
	}
}

func runUmount(ctx context.Context, arg string) error {
	place, err := resolvePlace(arg)
	if err != nil {
		return err
	}
	entry, err := ourMount(place)
	if err != nil {
		return err
	}
	daemon := findDaemon(entry)
	defer daemon.close()
	err = detachPatiently(ctx, place)
	switch {
	case err == nil:
		return daemon.awaitEnd(finishWait)
	case !errors.Is(err, unix.EBUSY):
		return fmt.Errorf("unmount %s: %w", place, err)
	case !daemon.found() && isDead(place):
		return cleanUp(place)
	}
	return resolveBusy(place, daemon)
}

// ourMount returns the hbmfs mount whose top place is, or an error wrapping
// [client.ErrNotHBMFS].
func ourMount(place string) (mountEntry, error) {
	top, found, err := mountAt(place)
	switch {
	case err != nil:
		return top, err
	case !found:
		return top, fmt.Errorf("%w: nothing is mounted at %s", client.ErrNotHBMFS, place)
	case top.fsType != fsType:
		return top, fmt.Errorf("%w: %s is of type %s, from %s", client.ErrNotHBMFS, place, top.fsType, top.source)
	}
	return top, nil
}

// detachPatiently unmounts place. It tries again for a moment while the mount
// is busy, since closing a file takes effect a little later than close returns.
// The error wraps EBUSY if that is not enough.
func detachPatiently(ctx context.Context, place string) error {
	ctx, cancel := context.WithTimeout(ctx, busyWait)
	defer cancel()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		err := fs.Detach(place, 0)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return err
		}
	}
}

// resolveBusy names who uses the mount. Without root, the daemon's own socket
// in the mount keeps it busy; if nothing else does, the daemon is told to end,
// and unmounts.
func resolveBusy(place string, daemon daemonProc) error {
	users := usersOf(place, daemon.pid)
	if len(users) > 0 {
		return fmt.Errorf("%w: %s is in use by %s; end them first", errBusy, place, strings.Join(users, ", "))
	}
	if os.Geteuid() == 0 || daemon.terminate() != nil {
		return fmt.Errorf("%w: %s; end what uses it ('fuser -m %s' may tell)", errBusy, place, place)
	}
	return daemon.awaitEnd(finishWait)
}
