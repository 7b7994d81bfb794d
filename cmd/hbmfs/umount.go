package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hbmfs/cmd/hbmfs/internal/mounts"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/fs"
	"hbmfs/fs/beside"
	"hbmfs/fs/client"
)

// Bounds on how long umount waits: for a busy mount, which may only be closing
// its last file, and for the daemon to end.
const (
	busyWait   = time.Second
	finishWait = 15 * time.Second
)

const umountHelp = `Unmount an hbmfs mount, and wait until its daemon has finished. What a killed
daemon left behind is cleaned up; one that is stopped is told to end, and its
mount is taken away at once. A mount in use stays, and is named with those who
use it.

Where the same file system is mounted at another place too, such as by
'mount --bind' or in another mount name space, that stays, and so does the
daemon. In another network name space than the daemon's, its end is not waited
for, which is said.`

func newUmountCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Unmount an hbmfs mount",
		Long:    umountHelp,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return supervise.Run(cmd.Context(), supervise.NoLimit, func(ctx context.Context) error {
				return runUmount(ctx, args[0], cmd.ErrOrStderr())
			})
		},
	}
}

func runUmount(ctx context.Context, arg string, stderr io.Writer) error {
	place, err := mounts.Resolve(arg)
	if err != nil {
		return err
	}
	entry, err := ourMount(place)
	if err != nil {
		return err
	}
	daemon := mounts.FindDaemon(entry)
	defer daemon.Close()
	switch state := daemon.State(); {
	case state == mounts.Dying:
		return mounts.Free(place, entry)
	case state == mounts.Stopped && entry.IsOnly():
		return mounts.FreeStopped(ctx, place, entry, daemon)
	}
	if !daemon.Found() && mounts.IsDead(place) {
		return mounts.Free(place, entry)
	}
	missed := !daemon.Found() && !mounts.KeptOut(place)
	err = detachPatiently(ctx, place)
	switch {
	case err == nil && !daemon.Found() && !missed: // a user's, which may have been killed
		return beside.RemoveLeftover(entry.Dev, entry.Owner)
	case err == nil && missed && !daemon.IsMountedElsewhere():
		fmt.Fprintf(stderr, "hbmfs: unmounted; its daemon may be finishing, and was not found to wait for: %s\n", shownText(daemon.WhyNot.Error()))
		return nil
	case err == nil:
		return daemon.AwaitEnd(ctx, finishWait)
	case !errors.Is(err, unix.EBUSY):
		return fmt.Errorf("unmount %s: %w", place, err)
	}
	return resolveBusy(place, daemon)
}

// ourMount returns the hbmfs mount whose top place is, or an error wrapping
// [client.ErrNotHBMFS].
func ourMount(place string) (mounts.Entry, error) {
	top, found, err := mounts.At(place)
	switch {
	case err != nil:
		return top, err
	case !found:
		return top, fmt.Errorf("%w: nothing is mounted at %s", client.ErrNotHBMFS, place)
	case !top.Ours():
		return top, fmt.Errorf("%w: %s is of type %s, from %s", client.ErrNotHBMFS, place, top.Type, top.Source)
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

// resolveBusy names who uses the mount.
func resolveBusy(place string, daemon mounts.Daemon) error {
	users := mounts.Users(place, daemon.PID)
	if len(users) > 0 {
		return fmt.Errorf("%w: %s is in use by %s; end them first", errBusy, place, strings.Join(users, ", "))
	}
	return fmt.Errorf("%w: %s; end what uses it ('fuser -m %s' may tell), or take it away from them with 'umount -f %s' and 'umount -l %s' as root",
		errBusy, place, place, place, place)
}
