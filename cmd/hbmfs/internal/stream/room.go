package stream

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// Of a pool that others have filled, each gets room when another releases.
const (
	roomWait  = 10 * time.Second
	roomRetry = 10 * time.Millisecond
)

// FetchWhenRoom is [client.File.FetchInto] that waits a while for room in the pool,
// if others have pinned too much of it.
func FetchWhenRoom(ctx context.Context, f *client.File, into *client.Lease, off, n int64, opts client.FetchOptions) error {
	for began := time.Now(); ; opts.Release = 0 { // it is released by the first
		err := f.FetchInto(ctx, into, off, n, opts)
		if !errors.Is(err, unix.ENOSPC) || time.Since(began) > roomWait {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(roomRetry):
		}
	}
}
