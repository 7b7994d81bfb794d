package client

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"syscall"
	"time"

	"hbmfs/fs/uapi"
)

// defaultSegments is the room for segments where no other is asked for.
const defaultSegments = 64

// FetchOptions is what a fetch can ask for beside its range.
type FetchOptions struct {
	// Device is the ID of one of [Info.Devices].
	Device uint32
	// MaxSegments is the room for the lease's segments, from 1 to
	// [uapi.MaxSegments]; 0 is 64. A range that needs more is answered in part.
	MaxSegments int
	// Release is a handle of the same file to release first, or 0. It stays
	// released if the fetch fails, but for E2BIG, EINVAL and ENOENT, and where
	// ctx had ended before the call.
	Release uint64
	// Loan asks for the bytes where the NIC put them, without a copy, where the
	// mount can lend them; [Lease.Loan] tells. It may cover less than there is
	// room for. Nothing is cached, and what is lent is missing to those who
	// fetch: release it soon. The error wraps ENOSPC if too much is lent.
	Loan bool
	// Access says whether the range is a sample or part of a run, where it may look
	// like the other.
	Access Access
	// Wait is how long to wait for room where too much is pinned or under way, in
	// order of arrival; an hour at most, counted in whole milliseconds. 0 does not
	// wait: the error then wraps ENOSPC at once. A loan is not waited for.
	Wait time.Duration
}

// Access is what a program does with a file, as far as that matters for what of it
// is kept in device memory.
type Access uint32

const (
	// Detect takes a range that begins where the one before it ended for part of a
	// run, and any other for a sample.
	Detect Access = 0
	// Random keeps the range as it is.
	Random Access = uapi.FetchRandom
	// Sequential keeps the whole extents that the range touches.
	Sequential Access = uapi.FetchSequential
)

// Lease is a range of a file in device memory that [File.Fetch] pinned there. The
// zero Lease is ready for [File.FetchInto].
type Lease struct {
	Handle   uint64 // pins the segments; 0: no bytes, nothing to release
	Segments []Segment
	Fetched  int64 // bytes that the segments cover
	Cursor   int64 // the offset to go on from, 0 if the range is done
	FileSize int64 // bytes
	// Path is the least direct of the segments', and Why the reason for it.
	Path uapi.Path
	Why  uapi.Reason
	// Unsettled: the file may have changed unnoticed. Either a writer may have it
	// open, and its bytes are not cached, or the target does not answer, which Why
	// then says.
	Unsettled bool
	// Loan: the segments are lent, as was asked for.
	Loan bool

	call *call
}

// Segment is a part of a region that holds a part of a file. Offsets and length
// are in bytes.
type Segment struct {
	Region       uint32
	RegionOffset int64
	FileOffset   int64
	Length       int64
	Path         uapi.Path
	Hit          bool // was in device memory already
}

// Fetch brings length bytes from off into device memory and pins them there,
// until [File.Release] or the end of the file. It returns once the device sees
// them all. A range past the end of the file is cut short, as a read is.
//
// The end of ctx breaks a fetch off: the error then wraps ctx's, and nothing is
// pinned. If the bytes came all the same, there is no error. A signal alone does
// not break it off, since Go's runtime sends them on its own account. So Ctrl-C
// needs a ctx of [signal.NotifyContext].
//
// Errors wrap what hbmfs.h lists for FETCH, as [syscall.Errno], or [ErrClosed]
// or [ErrProtocol].
func (f *File) Fetch(ctx context.Context, off, length int64, opts FetchOptions) (*Lease, error) {
	into := new(Lease)
	if err := f.FetchInto(ctx, into, off, length, opts); err != nil {
		return nil, err
	}
	return into, nil
}

// FetchInto is [File.Fetch] that reuses a Lease and its slice of segments: in a
// loop with the same room for segments and a ctx that can't end, it allocates
// nothing. It releases nothing by itself; [FetchOptions.Release] can name the
// handle that into still has. After an error, into is empty.
func (f *File) FetchInto(ctx context.Context, into *Lease, off, length int64, opts FetchOptions) error {
	if err := f.fetch(ctx, into, off, length, opts); err != nil {
		*into = Lease{Segments: into.Segments[:0], call: into.call}
		return fmt.Errorf("hbmfs: fetch %d bytes at %d of %s: %w", length, off, f.path, err)
	}
	return nil
}

func (f *File) fetch(ctx context.Context, into *Lease, off, length int64, opts FetchOptions) error {
	if err := into.prepare(cmp.Or(opts.MaxSegments, defaultSegments), opts.Wait != 0); err != nil {
		return err
	}
	req := uapi.Fetch{
		Size:    uapi.MinFetchSize, // which every mount knows, but for what may wait
		Offset:  uint64(off),
		Length:  uint64(length),
		Release: opts.Release,
		Device:  opts.Device,
	}
	req.Flags = uint32(opts.Access)
	if opts.Loan {
		req.Flags |= uapi.FetchLoan
	}
	wait, err := newWait(opts.Wait)
	if err != nil {
		return err
	}
	err = answered(ctx, f.sys, into.call, func() {
		wait.put(&req)
		uapi.EncodeFetch(into.call.arg, &req)
		req.Release = 0 // a call that is interrupted has released it
	})
	if err != nil {
		return err
	}
	return into.decode()
}

// prepare makes l's call one with room for n segments, which may wait or not.
func (l *Lease) prepare(n int, waits bool) error {
	if n < 1 || n > uapi.MaxSegments {
		return fmt.Errorf("%w: room for %d segments, must be 1 to %d", syscall.EINVAL, n, uapi.MaxSegments)
	}
	cmd, size := uapi.IocShortFetch(n), uapi.ShortFetchLen(n)
	if waits {
		cmd, size = uapi.IocFetch(n), uapi.FetchLen(n)
	}
	if l.call == nil || l.call.cmd != cmd {
		l.call = newCall(cmd, make([]byte, size))
	}
	return nil
}

// decode reads the answer out of l's call.
func (l *Lease) decode() error {
	head, segments, err := uapi.DecodeFetchReply(l.call.arg)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if max(head.Fetched, head.Cursor, head.FileSize) > math.MaxInt64 || head.Path > math.MaxUint8 || head.Why > math.MaxUint16 {
		return fmt.Errorf("%w: FETCH answered %+v", ErrProtocol, head)
	}
	*l = Lease{
		Handle:    head.Handle,
		Segments:  l.Segments[:0],
		Fetched:   int64(head.Fetched),
		Cursor:    int64(head.Cursor),
		FileSize:  int64(head.FileSize),
		Path:      uapi.Path(head.Path),
		Why:       uapi.Reason(head.Why),
		Unsettled: head.Flags&uapi.FetchUnsettled != 0,
		Loan:      head.Flags&uapi.FetchLoan != 0,
		call:      l.call,
	}
	for i := range int(head.SegmentCount) {
		s := uapi.DecodeSegment(segments, i)
		if max(s.RegionOffset, s.FileOffset, s.Length) > math.MaxInt64 || s.Path > math.MaxUint8 {
			return fmt.Errorf("%w: FETCH answered segment %+v", ErrProtocol, s)
		}
		l.Segments = append(l.Segments, decodeSegment(s))
	}
	return nil
}

func decodeSegment(s uapi.Segment) Segment {
	return Segment{
		Region:       s.Region,
		RegionOffset: int64(s.RegionOffset),
		FileOffset:   int64(s.FileOffset),
		Length:       int64(s.Length),
		Path:         uapi.Path(s.Path),
		Hit:          s.Flags&uapi.SegmentHit != 0,
	}
}
