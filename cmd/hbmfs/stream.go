package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

const (
	// windowsInFlight is how many windows are fetched, or looked at, at once.
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
	err := readFile(ctx, mounts, name, o, &result)
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
	s := &stream{file: f, verify: o.verify, loan: o.loan, window: windowSize(info), extent: info.ExtentSize}
	s.next = min(int64(o.span.off), nothing.FileSize)
	s.end = min(s.next+min(int64(o.span.length), nothing.FileSize), nothing.FileSize)
	return s.run(ctx, result)
}

// windowSize is such that all windows in flight leave half of the pool to
// others, and that one FETCH answers each.
func windowSize(info client.Info) int64 {
	extents := int64(min(windowExtents, uapi.MaxSegments))
	if len(info.Devices) > 0 && info.ExtentSize > 0 {
		extents = min(extents, info.Devices[0].Pool/info.ExtentSize/(2*windowsInFlight))
	}
	return max(1, extents) * info.ExtentSize
}

// stream fetches [next, end) of a file.
type stream struct {
	file           *client.File
	verify, loan   bool
	window, extent int64
	bar            *progressbar.ProgressBar // nil without a terminal

	mu        sync.Mutex
	next, end int64 // what is not yet taken; next is guarded by mu
	total     streamTotal
}

// streamTotal adds up windows. Guarded by stream.mu.
type streamTotal struct {
	bytes, segments, hits int64
	lent                  int64 // of bytes
	path                  transport.Path
	why                   transport.Reason
	unsettled             bool
	wrong                 []span
}

func (s *stream) run(ctx context.Context, result *readResult) error {
	want := s.end - s.next
	if term.IsTerminal(int(os.Stderr.Fd())) {
		s.bar = progressbar.NewOptions64(want, progressbar.OptionSetDescription(s.file.Name()), progressbar.OptionShowBytes(true),
			progressbar.OptionSetWriter(os.Stderr), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		defer func() { _ = s.bar.Finish() }()
	}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range s.workers() {
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

// workers is how many windows are held at once: with loans one, since there may
// be no more to be lent.
func (s *stream) workers() int {
	if s.loan {
		return 1
	}
	return windowsInFlight
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
	var part client.Fetch
	defer func() {
		_, rerr := s.file.Release(part.Handle)
		err = errors.Join(err, rerr)
	}()
	for w, ok := s.take(); ok; w, ok = s.take() {
		for off, end := w.Off, w.Off+w.Len; off < end; off += part.Fetched {
			opts := client.FetchOptions{Segments: uapi.MaxSegments, Release: part.Handle, Loan: s.loan}
			if err := s.file.FetchInto(ctx, &part, off, end-off, opts); err != nil {
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

func (s *stream) consume(ctx context.Context, part *client.Fetch, at span) error {
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
	if s.bar != nil {
		_ = s.bar.Add64(part.Fetched) // what can't be drawn is no failure
	}
	return nil
}

func (t *streamTotal) add(part *client.Fetch) {
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

// matches compares device memory with what the target reads from its source.
func (s *stream) matches(ctx context.Context, part *client.Fetch, at span) (bool, error) {
	var want [sha256.Size]byte
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		want, err = s.file.Digest(ctx, at.Off, at.Len)
		return err
	})
	got, err := digestOf(s.file, part)
	if err := errors.Join(err, group.Wait()); err != nil {
		return false, err
	}
	return got == want, nil
}

// digestOf hashes what lies in device memory now.
func digestOf(f *client.File, part *client.Fetch) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, seg := range part.Segments {
		b, err := f.Bytes(seg)
		if err != nil {
			return sum, err
		}
		h.Write(b)
	}
	h.Sum(sum[:0])
	return sum, nil
}
