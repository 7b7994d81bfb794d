// Package pins answers the ioctls by which a user keeps parts of an open file in device
// memory, and drops what he does not want there. It owns what they mean; what is pinned
// is in package cache. It holds no lock.
package pins

import (
	"context"
	"errors"
	"time"

	"hbmfs/cache"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// File is an open file, and the user who asks.
type File struct {
	Cache  *cache.Cache
	Source cache.PinSource
	UID    uint32
	// Confirm returns nil if what is in device memory by now is the file's at some
	// moment from now on; away says that the target does not answer.
	Confirm func(context.Context) (away bool, err error)
	// RequireDirect refuses what came by host memory.
	RequireDirect bool
}

// Ioctl answers PIN, UNPIN or EVICT: in is the argument, out the answer. The error wraps
// [cache.ErrUnsettled], [cache.ErrNoSpace], or what uapi, Cache.Pin or Confirm returns.
func (f *File) Ioctl(ctx context.Context, cmd uint32, in, out []byte) error {
	switch uapi.IocNr(cmd) {
	case uapi.NrPin:
		return f.pin(ctx, cmd, in, out)
	case uapi.NrUnpin:
		return f.unpin(ctx, cmd, in, out)
	case uapi.NrEvict:
		return f.evict(ctx, cmd, in, out)
	}
	return uapi.ErrCommand
}

// longest is how long a pin with an end lasts at most.
const longest = 100 * 365 * 24 * time.Hour

// lasts is for how long, 0 for ever.
func lasts(ms uint64) time.Duration {
	return time.Duration(min(ms, uint64(longest/time.Millisecond))) * time.Millisecond
}

func (f *File) pin(ctx context.Context, cmd uint32, in, out []byte) error {
	p, err := uapi.DecodePin(cmd, in)
	if err != nil {
		return err
	}
	if _, err := f.Cache.Device(p.Device); err != nil {
		return err
	}
	away, err := f.Confirm(ctx) // first, since what is pinned stays so
	if err != nil {
		return err
	}
	dom := transport.Domain{UID: f.UID, Device: p.Device}
	opts := cache.PinOptions{For: lasts(p.ForMs), Direct: f.RequireDirect}
	done, err := f.Cache.Pin(ctx, f.Source, dom, int64(p.Offset), int64(p.Length), opts)
	if err != nil {
		return err
	}
	if err := f.confirmPinned(ctx); err != nil {
		return err
	}
	p.Pinned, p.Cursor = uint64(done.Bytes), uint64(done.Next)
	p.Flags, p.Path, p.Why = 0, uint32(done.Path), uint32(done.Why)
	if away {
		p.Flags, p.Why = uapi.PinUnsettled, uint32(uapi.WhyTargetAway)
	}
	uapi.EncodePin(out, &p)
	return nil
}

// confirmPinned returns an error if the file changed: maybe before its pins were there
// to be ended by that. Nothing else undoes them.
func (f *File) confirmPinned(ctx context.Context) error {
	_, err := f.Confirm(ctx)
	if !errors.Is(err, transport.ErrStale) {
		return nil
	}
	f.Cache.Forget(f.Source.Key())
	return err
}

func (f *File) unpin(ctx context.Context, cmd uint32, in, out []byte) error {
	u, err := uapi.DecodeUnpin(cmd, in)
	if err != nil {
		return err
	}
	n, err := f.Cache.Unpin(ctx, f.UID, f.Source.Key(), int64(u.Offset), int64(u.Length))
	if err != nil {
		return err
	}
	u.Unpinned = uint64(n)
	uapi.EncodeUnpin(out, &u)
	return nil
}

func (f *File) evict(ctx context.Context, cmd uint32, in, out []byte) error {
	e, err := uapi.DecodeEvict(cmd, in)
	if err != nil {
		return err
	}
	n, err := f.Cache.Evict(ctx, f.UID, f.Source.Key(), int64(e.Offset), int64(e.Length))
	if err != nil {
		return err
	}
	e.Evicted = uint64(n)
	uapi.EncodeEvict(out, &e)
	return nil
}
