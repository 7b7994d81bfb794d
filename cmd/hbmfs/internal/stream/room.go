package stream

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// Of a pool that others have filled, each gets room when another releases. Who wants a
// loan asks again.
const (
	RoomWait  = 10 * time.Second
	RoomRetry = 10 * time.Millisecond
)

// FetchWhenRoom is [client.File.FetchInto] that waits a while for room in the pool,
// if others have pinned too much of it.
func FetchWhenRoom(ctx context.Context, f *client.File, into *client.Lease, off, n int64, opts client.FetchOptions) error {
	for began := time.Now(); ; opts.Release = 0 { // it is released by the first
		err := fetchWithin(ctx, f, into, off, n, opts)
		if !errors.Is(err, unix.ENOSPC) || time.Since(began) > RoomWait {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(RoomRetry):
		}
	}
}

// fetchWithin has the mount wait, if that is not of a version that can't.
func fetchWithin(ctx context.Context, f *client.File, into *client.Lease, off, n int64, opts client.FetchOptions) error {
	opts.Wait = RoomWait
	err := f.FetchInto(ctx, into, off, n, opts)
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.EINVAL) {
		opts.Wait = 0
		err = f.FetchInto(ctx, into, off, n, opts)
	}
	return err
}

// Share says how much each of several workers may have one FETCH take, in bytes and
// segments: what they all hold leaves half of the pool to others, unless that is
// too small.
func Share(info client.Info, workers int) (size int64, segments int) {
	extent := max(1, info.ExtentSize)
	size = int64(uapi.MaxSegments) * extent
	if len(info.Devices) > 0 {
		size = min(size, info.Devices[0].Pool/int64(2*workers))
	}
	size = max(size, extent)
	const bothEnds = 2 // a range seldom begins and ends where extents do
	return size, int(min(size/extent+bothEnds, int64(uapi.MaxSegments)))
}
