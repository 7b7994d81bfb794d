package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	"hbmfs/fs/uapi"
)

// Want is a range that a batch asks for.
type Want struct {
	// Name is of a file beneath the directory: one or more components with '/' between
	// them, none of them "." or "..". It is "" on an open file.
	Name           string
	Offset, Length int64 // in bytes; what is past the end of the file is cut off
	At             int64 // where in [BatchOptions.Into] the range goes
}

// BatchOptions is what a batch can ask for beside its ranges.
type BatchOptions struct {
	// Device is the ID of one of [Info.Devices].
	Device uint32
	// Segments is the room for segments of all ranges; 0 is one for each range and one
	// for each MiB of it, 16 at most.
	Segments int
	// Release is a handle of the same file or directory to release first, or 0, as in
	// [FetchOptions].
	Release uint64
	// Access says what is kept. Detect is Random here.
	Access Access
	// Into, if not nil, is the buffer that the ranges are brought into, as by
	// [File.ReadInto]: nothing is pinned, and results have no segments. Device, Segments,
	// Release and Access must be 0 then. Where a file changes meanwhile, what is behind
	// Fetched in the place of its range may be of the version before.
	Into *Buffer
}

// Batch is what a call of [Dir.FetchFiles] or [File.FetchRanges] pinned in device memory.
// The zero Batch is ready for either.
type Batch struct {
	Handle  uint64 // pins the segments of all results; 0: no bytes, nothing to release
	Failed  int    // how many results have an error
	Results []Result

	segments []Segment
	call     *call
}

// Result is what became of a range.
type Result struct {
	// Err is nil, or wraps what hbmfs.h lists for an entry of BATCH, as [syscall.Errno].
	Err      error
	Segments []Segment
	Fetched  int64 // bytes that the segments cover
	Cursor   int64 // the offset to go on from, if More
	FileSize int64 // bytes; 0 if nothing was fetched for want of room
	// Path is the least direct of the segments', and Why the reason for it.
	Path uapi.Path
	Why  uapi.Reason
	// More: there was no room for all segments of the range.
	More bool
	// Unsettled is as [Lease] has it.
	Unsettled bool
}

// fit returns how many of the ranges one call has room for, and what they take.
func fit(wants []Want, opts *BatchOptions) (n, segments, nameBytes int) {
	for n < len(wants) {
		s := segments + segmentsFor(&wants[n])
		switch {
		case opts.Into != nil:
			s = 0
		case opts.Segments > 0:
			s = opts.Segments
		}
		names := nameBytes + len(wants[n].Name)
		if uapi.BatchLen(n+1, s, names) > uapi.BatchMax {
			break
		}
		n, segments, nameBytes = n+1, s, names
	}
	return n, segments, nameBytes
}

func segmentsFor(w *Want) int {
	const most = 16
	return 1 + int(min(max(w.Length, 0)>>20, most-1))
}

// prepare makes b's call one for as many of the ranges as it has room for, which head
// says.
func (b *Batch) prepare(wants []Want, opts *BatchOptions) (head uapi.Batch, err error) {
	n, segments, names := fit(wants, opts)
	if n == 0 {
		return head, fmt.Errorf("%w: no range, or none that a call of %d bytes has room for", syscall.EINVAL, uapi.BatchMax)
	}
	if opts.Segments < 0 || opts.Segments > uapi.BatchMax {
		return head, fmt.Errorf("%w: room for %d segments", syscall.EINVAL, opts.Segments)
	}
	size := uapi.BatchLen(n, segments, names)
	if cmd := uapi.IocBatch(size); b.call == nil || b.call.cmd != cmd {
		b.call = newCall(cmd, make([]byte, size))
		b.call.remedies = batchRemedies
	}
	if opts.Into != nil {
		return intoBatch(uapi.Batch{Size: uint32(uapi.BatchSize), EntryCount: uint32(n), NameBytes: uint32(names)}, opts)
	}
	return uapi.Batch{
		Size: uint32(uapi.BatchSize), Flags: uint32(opts.Access), EntryCount: uint32(n), SegmentRoom: uint32(segments),
		NameBytes: uint32(names), Device: opts.Device, Release: opts.Release,
	}, nil
}

// intoBatch has a batch go into a buffer.
func intoBatch(head uapi.Batch, opts *BatchOptions) (uapi.Batch, error) {
	if opts.Device != 0 || opts.Segments != 0 || opts.Release != 0 || opts.Access != Detect {
		return head, fmt.Errorf("%w: only ranges go into a buffer: %+v", syscall.EINVAL, *opts)
	}
	head.Flags, head.Device = uapi.BatchInto, opts.Into.id
	return head, nil
}

// fetchBatch makes one call. Where it was not made, or the mount has not begun it, b is as
// it was.
func (b *Batch) fetchBatch(ctx context.Context, f openFile, wants []Want, opts BatchOptions) error {
	head, err := b.prepare(wants, &opts)
	if err != nil {
		return err
	}
	tries := 0
	err = answered(ctx, f, b.call, func() {
		tries++
		uapi.EncodeBatch(b.call.arg, &head, func(i int) (uapi.BatchEntry, string) {
			return wants[i].entry(opts.Into), wants[i].Name
		})
		head.Release = 0 // a call that is interrupted has released it
	})
	if err == nil {
		err = b.decode(wants[:head.EntryCount], int(head.SegmentRoom))
	}
	if err != nil && (tries > 1 || isBegun(ctx, err)) {
		*b = Batch{Results: b.Results[:0], call: b.call}
	}
	return err
}

// entry asks for the range; into a buffer, if that is not nil.
func (w *Want) entry(into *Buffer) uapi.BatchEntry {
	e := uapi.BatchEntry{Offset: uint64(w.Offset), Length: uint64(w.Length)}
	if into != nil {
		e.Cursor = uint64(w.At)
	}
	return e
}

// isBegun reports whether a call that failed, the first time that it was made, may have
// released a handle.
func isBegun(ctx context.Context, err error) bool {
	notMade := ctx.Err() != nil && errors.Is(err, ctx.Err())
	return !notMade && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.E2BIG)
}

// decode reads the answer out of b's call.
func (b *Batch) decode(wants []Want, segments int) error {
	reply, err := uapi.DecodeBatchReply(b.call.arg, len(wants), segments)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	b.Handle, b.Failed = reply.Handle, int(reply.Failed)
	b.segments = make([]Segment, 0, reply.SegmentCount) // the last batch's may be in use still
	b.Results = b.Results[:0]
	for i := range wants {
		e, list, err := reply.Entry(i)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		r, err := b.result(&e, list)
		if err != nil {
			return err
		}
		if e.Error != 0 {
			r.Err = fmt.Errorf("hbmfs: fetch %d bytes at %d of %q: %w", wants[i].Length, wants[i].Offset, wants[i].Name, explainBy(entryRemedies, syscall.Errno(e.Error)))
		}
		b.Results = append(b.Results, r)
	}
	return nil
}

// result is the answer to one entry.
func (b *Batch) result(e *uapi.BatchEntry, list []byte) (Result, error) {
	if e.Flags&uapi.BatchMore == 0 {
		e.Cursor = 0 // or a place in a buffer
	}
	if max(e.Fetched, e.Cursor, e.FileSize) > math.MaxInt64 || e.Path > math.MaxUint8 {
		return Result{}, fmt.Errorf("%w: BATCH answered %+v", ErrProtocol, *e)
	}
	first := len(b.segments)
	for i := range int(e.SegmentCount) {
		s := uapi.DecodeSegment(list, i)
		if max(s.RegionOffset, s.FileOffset, s.Length) > math.MaxInt64 || s.Path > math.MaxUint8 {
			return Result{}, fmt.Errorf("%w: BATCH answered segment %+v", ErrProtocol, s)
		}
		b.segments = append(b.segments, decodeSegment(s))
	}
	return Result{
		Segments: b.segments[first:len(b.segments):len(b.segments)],
		Fetched:  int64(e.Fetched), Cursor: int64(e.Cursor), FileSize: int64(e.FileSize),
		Path: uapi.Path(e.Path), Why: uapi.Reason(e.Why),
		More: e.Flags&uapi.BatchMore != 0, Unsettled: e.Flags&uapi.FetchUnsettled != 0,
	}, nil
}

// FetchRanges brings many ranges of the file into device memory with one call, and pins
// them there under one handle, until [File.Release] or the end of the file. It asks for
// as many of wants, from the first on, as a call has room for, about 180, and into has
// as many results; the others are for the next call. A result with an error keeps no
// other from being fetched.
//
// ctx is as for [File.Fetch]. The error, with which nothing is pinned, wraps what hbmfs.h
// lists for the whole of BATCH, as [syscall.Errno], or [ErrClosed] or [ErrProtocol]; into
// is empty then. But where it wraps EINVAL or E2BIG, or ctx had ended before the call,
// nothing was released, and into is as it was. A mount that is older than BATCH answers
// ENOTTY.
func (f *File) FetchRanges(ctx context.Context, into *Batch, wants []Want, opts BatchOptions) error {
	return into.fetch(ctx, f.sys, f.path, wants, opts)
}

func (b *Batch) fetch(ctx context.Context, f openFile, path string, wants []Want, opts BatchOptions) error {
	if err := b.fetchBatch(ctx, f, wants, opts); err != nil {
		return fmt.Errorf("hbmfs: fetch a batch of %d ranges of %s: %w", len(wants), path, err)
	}
	return nil
}
