package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"hbmfs/fs/uapi"
)

// PinOptions is what a pin can ask for beside its range.
type PinOptions struct {
	// Device is the ID of one of [Info.Devices].
	Device uint32
	// For is for how long, in steps of a millisecond, rounded up; 0 is until it is
	// unpinned or the mount ends.
	For time.Duration
}

// Pinned is what a [File.Pin] has pinned.
type Pinned struct {
	Bytes int64
	// Path is the least direct that any of it came by, and Why the reason for it.
	Path uapi.Path
	Why  uapi.Reason
	// Unsettled: the target did not answer whether this is still the file.
	Unsettled bool
}

// Pin brings length bytes from off into device memory and keeps them there for the
// user, until he unpins them, the time is over, the file changes or the mount ends:
// closing the file, or the end of the process, does not end it. There is nothing to
// release; a [File.Fetch] finds the bytes. A range past the end of the file is cut
// short. The pins of a user have a budget, of half his pool on each device, which
// counts the memory that extents take.
//
// It returns what is pinned from off on, also with an error, but for ESTALE: then nothing
// is. The error
// wraps ENOSPC if no more fits the budget or 65536 extents are pinned, EDQUOT if too
// many files of the mount have pins, EAGAIN if nothing of the file is kept
// because it may change unnoticed, what else hbmfs.h lists for PIN, EINVAL
// for a time below 0, or ctx's.
func (f *File) Pin(ctx context.Context, off, length int64, opts PinOptions) (all Pinned, err error) {
	if opts.For < 0 {
		return all, fmt.Errorf("hbmfs: pin %s: %w: for %v, must be 0 or more", f.path, syscall.EINVAL, opts.For)
	}
	p := uapi.Pin{
		Size: uint32(uapi.PinSize), Offset: uint64(off), Length: uint64(min(length, math.MaxInt64-max(off, 0))), Device: opts.Device,
		ForMs: uint64((opts.For + time.Millisecond - 1) / time.Millisecond),
	}
	buf := make([]byte, uapi.PinSize)
	c := newCall(uapi.IocPin, buf)
	for {
		if err := answered(ctx, f.sys, c, func() { uapi.EncodePin(buf, &p) }); err != nil {
			if errors.Is(err, syscall.ESTALE) {
				all = Pinned{}
			}
			return all, fmt.Errorf("hbmfs: pin %s from %d on: %w", f.path, p.Offset, explainPin(err))
		}
		r := uapi.DecodePinReply(buf)
		if r.Pinned > p.Length || r.Cursor != 0 && (r.Pinned == 0 || r.Cursor != p.Offset+r.Pinned) {
			return all, fmt.Errorf("hbmfs: pin of %s: %w: PIN answered %+v", f.path, ErrProtocol, r)
		}
		all.add(&r)
		p.Offset, p.Length = p.Offset+r.Pinned, p.Length-r.Pinned
		if r.Cursor == 0 {
			return all, nil
		}
	}
}

// add appends what a PIN answered.
func (p *Pinned) add(r *uapi.Pin) {
	if r.Pinned == 0 {
		return
	}
	if path := uapi.Path(r.Path); p.Bytes == 0 || path < p.Path {
		p.Path, p.Why = path, uapi.Reason(r.Why)
	}
	p.Bytes += int64(r.Pinned)
	p.Unsettled = p.Unsettled || r.Flags&uapi.PinUnsettled != 0
}

// explainPin has the words for what PIN means by an errno where another ioctl means
// something else.
func explainPin(err error) error {
	switch {
	case errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: as many files have pins as may, each of which stays open at the target, and what is left is for other users; unpin some files", syscall.EDQUOT)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: the user's pins hold all that they may, or are 65536, or too much of the pool is leased; unpin something, or mount with a larger pool", syscall.ENOSPC)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w: nothing of the file is kept, since a writer has it open, its file system can't tell of changes, or the mount is strict and the target away; open it again when that is over", syscall.EAGAIN)
	}
	return err
}

// Unpin ends the user's pins of this file that have one of length bytes from off on, on
// all devices, and returns how many bytes were pinned. All of the file is a length of
// [math.MaxInt64]. What a lease has stays; the rest may go when memory is needed.
func (f *File) Unpin(off, length int64) (int64, error) {
	u := uapi.Unpin{Size: uint32(uapi.UnpinSize), Offset: uint64(off), Length: uint64(min(length, math.MaxInt64-max(off, 0)))}
	buf := make([]byte, uapi.UnpinSize)
	c := newCall(uapi.IocUnpin, buf)
	if err := answered(context.Background(), f.sys, c, func() { uapi.EncodeUnpin(buf, &u) }); err != nil {
		return 0, fmt.Errorf("hbmfs: unpin %d bytes at %d of %s: %w", length, off, f.path, err)
	}
	return int64(uapi.DecodeUnpinReply(buf).Unpinned), nil
}

// Evict drops what the user has in device memory, on all devices, of length bytes from
// off on, and returns how many bytes that were: extents that have one of them, and are
// neither leased nor pinned nor under way.
func (f *File) Evict(off, length int64) (int64, error) {
	e := uapi.Evict{Size: uint32(uapi.EvictSize), Offset: uint64(off), Length: uint64(min(length, math.MaxInt64-max(off, 0)))}
	buf := make([]byte, uapi.EvictSize)
	c := newCall(uapi.IocEvict, buf)
	if err := answered(context.Background(), f.sys, c, func() { uapi.EncodeEvict(buf, &e) }); err != nil {
		return 0, fmt.Errorf("hbmfs: evict %d bytes at %d of %s: %w", length, off, f.path, err)
	}
	return int64(uapi.DecodeEvictReply(buf).Evicted), nil
}

// UnpinAll ends all pins of the user, also those of files that are gone, and returns
// how many bytes were pinned.
func (m *Mount) UnpinAll() (int64, error) {
	a, err := m.ctl.ask(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlUnpin})
	if err != nil {
		return 0, fmt.Errorf("hbmfs: unpin all on %s: %w", m.root, err)
	}
	return int64(a.reply.Length), nil
}

// Revoke takes the memory of the device with that number from all users of the mount,
// and returns how many regions that were, and their bytes. What programs hold there is of
// no use any more: RELEASE of it is ENODEV. The error wraps EPERM for who is neither root
// nor the user of the daemon, or ENODEV.
func (m *Mount) Revoke(device uint32) (regions int, bytes int64, err error) {
	a, err := m.ctl.ask(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlRevoke, Region: device})
	if err != nil {
		return 0, 0, fmt.Errorf("hbmfs: revoke device %d of %s: %w", device, m.root, err)
	}
	return int(a.reply.Region), int64(a.reply.Length), nil
}

// checkUnpin checks the answer to a CtlUnpin, or CtlRevoke.
func (a answer) checkUnpin() error {
	if len(a.fds) != 0 || len(a.body) != 0 {
		return fmt.Errorf("%w: %d descriptors and %d bytes in the reply", ErrProtocol, len(a.fds), len(a.body))
	}
	return nil
}
