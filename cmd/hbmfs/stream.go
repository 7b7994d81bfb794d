package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

const (
	// windowsInFlight is how many windows are fetched, or looked at, at once, if
	// the pool holds as many.
	windowsInFlight = 3
	// windowExtents is how many extents a window has, if the pool is large enough.
	windowExtents = 16
)

// span is a range of a file, in bytes.
type span struct {
	Off int64 `json:"offset"`
	Len int64 `json:"length"`
}

// readOne fetches the range of a file that o asks for, window by window.
func readOne(ctx context.Context, mounts *mountSet, name string, o readOptions) (readResult, error) {
	result := readResult{File: name, Verified: o.verify}
	err := explainEIO(readFile(ctx, mounts, name, o, &result), name)
	if err == nil && result.Mismatches > 0 {
		err = fmt.Errorf("%w: %s: device memory differs from the target in %d windows: %v", errMismatch, name, result.Mismatches, result.Wrong)
	}
	if err != nil {
		result.Error = err.Error()
	}
	return result, err
}

func readFile(ctx context.Context, mounts *mountSet, name string, o readOptions, result *readResult) (err error) {
	f, err := mounts.open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Mount().Info()
	if err != nil {
		return err
	}
	// A fetch of nothing tells the size of the version that was opened.
	nothing, err := f.Fetch(ctx, 0, 0, client.FetchOptions{})
	if err != nil {
		return err
	}
	window, workers := windows(info)
	if o.loan {
		workers = 1 // there may be no more to be lent
	}
	s := &stream{file: f, verify: o.verify, loan: o.loan, window: window, workers: workers, extent: info.ExtentSize}
	s.next = min(int64(o.span.off), nothing.FileSize)
	s.end = min(s.next+min(int64(o.span.length), nothing.FileSize), nothing.FileSize)
	return s.run(ctx, result)
}

// windows says how large a window is, in bytes, and how many may be held at once:
// such that they leave half of the pool to others, unless that is too small, and
// that one FETCH answers each.
func windows(info client.Info) (size int64, inFlight int) {
	extents := int64(min(windowExtents, uapi.MaxSegments))
	inFlight = windowsInFlight
	if len(info.Devices) > 0 && info.ExtentSize > 0 {
		room := max(1, info.Devices[0].Pool/info.ExtentSize)
		inFlight = int(min(windowsInFlight, room))
		extents = min(extents, room/(2*windowsInFlight))
	}
	return max(1, extents) * info.ExtentSize, inFlight
}

// stream fetches [next, end) of a file.
type stream struct {
	file           *client.File
	verify, loan   bool
	window, extent int64
	workers        int // windows that are held at once
	bar            progress

	mu        sync.Mutex
	next, end int64 // what is not yet taken; next is guarded by mu
	total     streamTotal
}

// streamTotal adds up windows. Guarded by stream.mu.
type streamTotal struct {
	bytes, segments, hits int64
	lent                  int64 // of bytes
	path                  uapi.Path
	why                   uapi.Reason
	unsettled             bool
	wrong                 []span
}

func (s *stream) run(ctx context.Context, result *readResult) error {
	want := s.end - s.next
	s.bar = newProgress(os.Stderr, s.file.Name(), want)
	defer s.bar.finish()
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range s.workers {
		group.Go(func() error { return s.work(ctx) })
	}
	err := group.Wait()
	s.total.report(result, time.Since(began))
	if s.loan {
		result.Lent = &s.total.lent
	}
	if err == nil && s.total.bytes != want {
		err = fmt.Errorf("%s: %d bytes came of %d", s.file.Name(), s.total.bytes, want)
	}
	return err
}

func (t *streamTotal) report(r *readResult, took time.Duration) {
	r.Bytes, r.Segments, r.Hits = t.bytes, t.segments, t.hits
	r.Path, r.Reason, r.Unsettled = t.path.String(), t.why.String(), t.unsettled
	if t.segments == 0 {
		r.Reason = "nothing to fetch"
	}
	r.Seconds = took.Seconds()
	if r.Seconds > 0 {
		r.GBps = float64(t.bytes) / r.Seconds / 1e9
	}
	r.Wrong, r.Mismatches = t.wrong, len(t.wrong)
}

// take returns the next window, which ends on a multiple of the extent size.
func (s *stream) take() (w span, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next >= s.end {
		return span{}, false
	}
	w = span{s.next, min(s.next-s.next%s.extent+s.window, s.end) - s.next}
	s.next += w.Len
	return w, true
}

// work fetches windows until there are no more. The handle of each is released
// with the next FETCH.
func (s *stream) work(ctx context.Context) (err error) {
	var part client.Lease
	defer func() {
		rerr := s.file.Release(part.Handle)
		err = errors.Join(err, rerr)
	}()
	for w, ok := s.take(); ok; w, ok = s.take() {
		for off, end := w.Off, w.Off+w.Len; off < end; off += part.Fetched {
			opts := client.FetchOptions{MaxSegments: uapi.MaxSegments, Release: part.Handle, Loan: s.loan}
			if err := s.fetch(ctx, &part, off, end-off, opts); err != nil {
				return err
			}
			if part.Fetched == 0 {
				return fmt.Errorf("%s: no bytes came at %d of %d", s.file.Name(), off, part.FileSize)
			}
			if err := s.consume(ctx, &part, span{off, part.Fetched}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Of a pool that others have filled, each gets room when another releases.
const (
	roomWait  = 10 * time.Second
	roomRetry = 10 * time.Millisecond
)

// fetch waits for room in the pool.
func (s *stream) fetch(ctx context.Context, part *client.Lease, off, n int64, opts client.FetchOptions) error {
	for began := time.Now(); ; opts.Release = 0 { // it is released by the first
		err := s.file.FetchInto(ctx, part, off, n, opts)
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

func (s *stream) consume(ctx context.Context, part *client.Lease, at span) error {
	equal := true
	if s.verify {
		var err error
		if equal, err = s.matches(ctx, part, at); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.total.add(part)
	if !equal {
		s.total.wrong = append(s.total.wrong, at)
	}
	s.mu.Unlock()
	s.bar.add(part.Fetched)
	return nil
}

func (t *streamTotal) add(part *client.Lease) {
	if t.segments == 0 || part.Path < t.path {
		t.path, t.why = part.Path, part.Why
	}
	t.bytes += part.Fetched
	if part.Loan {
		t.lent += part.Fetched
	}
	t.segments += int64(len(part.Segments))
	t.unsettled = t.unsettled || part.Unsettled
	for _, seg := range part.Segments {
		if seg.Hit {
			t.hits++
		}
	}
}
