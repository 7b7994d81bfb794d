// Package stream brings ranges of a mount's files into device memory, window by
// window, however large they are beside the pool, and compares what lies there
// with what the target has.
//
// It prints nothing, and copies no payload. What it fetched is released when it
// returns, and stays in device memory until the mount needs the room.
//
// Locking: a stream's workers share what is left to fetch and the total under
// stream.mu, which is never held over a call.
package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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

// Span is a range of a file, in bytes.
type Span struct {
	Off int64 `json:"offset"`
	Len int64 `json:"length"`
}

// Options says what is fetched of a file, and how.
type Options struct {
	Span          // what is past the file's end is left out
	Verify   bool // compare each window with a digest of the target's
	Loan     bool // have the bytes lent, where the mount can
	Started  func(size int64)
	Progress func(n int64) // by several goroutines at once
}

// Total is what became of a range.
type Total struct {
	Bytes, Segments, Hits int64
	Lent                  int64 // of Bytes
	Path                  uapi.Path
	Why                   uapi.Reason
	Unsettled             bool
	Wrong                 []Span // windows that differ from the target's digest
	Took                  time.Duration
}

// Fetch fetches a range of a file, and releases it again. An error comes with what
// was done until then.
func Fetch(ctx context.Context, f *client.File, o Options) (Total, error) {
	info, err := f.Mount().Info()
	if err != nil {
		return Total{}, err
	}
	// A fetch of nothing tells the size of the version that was opened.
	nothing, err := f.Fetch(ctx, 0, 0, client.FetchOptions{})
	if err != nil {
		return Total{}, err
	}
	window, workers := windows(info)
	if o.Loan {
		workers = 1 // there may be no more to be lent
	}
	s := &stream{file: f, o: o, window: window, workers: workers, extent: info.ExtentSize}
	s.next = min(o.Off, nothing.FileSize)
	s.end = min(s.next+min(o.Len, nothing.FileSize), nothing.FileSize)
	return s.run(ctx)
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
	o              Options
	window, extent int64
	workers        int // windows that are held at once

	mu        sync.Mutex
	next, end int64 // what is not yet taken; next is guarded by mu
	total     Total // guarded by mu
}

func (s *stream) run(ctx context.Context) (Total, error) {
	want := s.end - s.next
	if s.o.Started != nil {
		s.o.Started(want)
	}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range s.workers {
		group.Go(func() error { return s.work(ctx) })
	}
	err := group.Wait()
	s.total.Took = time.Since(began)
	if err == nil && s.total.Bytes != want {
		err = fmt.Errorf("%s: %d bytes came of %d", s.file.Name(), s.total.Bytes, want)
	}
	return s.total, err
}

// take returns the next window, which ends on a multiple of the extent size.
func (s *stream) take() (w Span, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next >= s.end {
		return Span{}, false
	}
	w = Span{s.next, min(s.next-s.next%s.extent+s.window, s.end) - s.next}
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
			opts := client.FetchOptions{MaxSegments: uapi.MaxSegments, Release: part.Handle, Loan: s.o.Loan}
			if err := FetchWhenRoom(ctx, s.file, &part, off, end-off, opts); err != nil {
				return err
			}
			if part.Fetched == 0 {
				return fmt.Errorf("%s: no bytes came at %d of %d", s.file.Name(), off, part.FileSize)
			}
			if err := s.consume(ctx, &part, Span{off, part.Fetched}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stream) consume(ctx context.Context, part *client.Lease, at Span) error {
	equal := true
	if s.o.Verify {
		var err error
		if equal, err = s.matches(ctx, part, at); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.total.add(part)
	if !equal {
		s.total.Wrong = append(s.total.Wrong, at)
	}
	s.mu.Unlock()
	if s.o.Progress != nil {
		s.o.Progress(part.Fetched)
	}
	return nil
}

func (t *Total) add(part *client.Lease) {
	if t.Segments == 0 || part.Path < t.Path {
		t.Path, t.Why = part.Path, part.Why
	}
	t.Bytes += part.Fetched
	if part.Loan {
		t.Lent += part.Fetched
	}
	t.Segments += int64(len(part.Segments))
	t.Unsettled = t.Unsettled || part.Unsettled
	for _, seg := range part.Segments {
		if seg.Hit {
			t.Hits++
		}
	}
}
