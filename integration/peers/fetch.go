package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/fs/client"
)

const (
	// window is the range of one FETCH, in bytes, where a row does not vary it.
	window = 16 << 20
	// inFlight is how many windows are asked for at a time, by as many goroutines.
	inFlight = 4
	// segments is the room for segments of each FETCH: the client's default.
	segments = 64
)

// errWarm says that a fetch found bytes in the pool that were to be cold.
var errWarm = errors.New("fetch was not cold")

// fetchTCP measures cold fetches of the file over tcp, in bytes a second.
func (s *stage) fetchTCP(ctx context.Context, checksums bool) (measure, error) {
	m, err := s.mountTCP(ctx, checksums)
	if err != nil {
		return nil, err
	}
	return s.fetchCold(m), nil
}

// fetchCold measures fetches of the whole file by a mount whose pool was full of
// another one, in bytes a second.
func (s *stage) fetchCold(m *hbmfsMount) measure {
	return func(ctx context.Context) (float64, error) {
		if err := s.scrub(ctx, m); err != nil {
			return 0, err
		}
		return s.fetchRange(m)(ctx, 0, s.size, window)
	}
}

// scrub fills the pool with another file, so that its memory has been touched, and
// has the mount forget both that and the measured one.
func (s *stage) scrub(ctx context.Context, m *hbmfsMount) error {
	if _, err := fetchFile(ctx, m, scrubName, 0, poolSize, window); err != nil {
		return err
	}
	return errors.Join(s.renew(m, scrubName), s.renew(m, fileName))
}

// renew makes a file another version of the same bytes. While a mount has it open,
// that forgets what it holds of the old one before a writer goes on.
func (s *stage) renew(m *hbmfsMount, name string) (err error) {
	seen, err := m.client.Open(m.path(name))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.data, name), os.O_RDWR, 0)
	if err != nil {
		return errors.Join(err, seen.Close())
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 0)
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	return errors.Join(err, f.Close(), seen.Close())
}

// stream fetches the file again and again until so many bytes came.
func (s *stage) stream(ctx context.Context, m *hbmfsMount, bytes int64) error {
	for bytes > 0 {
		n := min(bytes, s.size)
		if _, err := s.fetch(ctx, m, 0, n, window); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}

// fetchRange measures fetches of a part of the file, in bytes a second. Small
// requests share extents: all but the first of an extent find it in the pool.
func (s *stage) fetchRange(m *hbmfsMount) rangeMeasure {
	return func(ctx context.Context, off, length, request int64) (float64, error) {
		began := time.Now()
		hits, err := s.fetch(ctx, m, off, length, request)
		if err == nil && request >= extent && hits > 0 {
			err = fmt.Errorf("%w: %d bytes were in the pool", errWarm, hits)
		}
		return float64(length) / time.Since(began).Seconds(), err
	}
}

// fetch fetches a part of the measured file.
func (s *stage) fetch(ctx context.Context, m *hbmfsMount, off, length, request int64) (hits int64, err error) {
	return fetchFile(ctx, m, fileName, off, length, request)
}

// fetchFile fetches [off, off+length) of a file in requests of one size, several
// at a time, and releases them. It returns how many of the bytes were in the
// pool already.
func fetchFile(ctx context.Context, m *hbmfsMount, name string, off, length, request int64) (hits int64, err error) {
	f, err := m.client.Open(m.path(name))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := fetchRun{file: f, end: off + length, request: request}
	r.next.Store(off)
	g, ctx := errgroup.WithContext(ctx)
	for range inFlight {
		g.Go(func() error { return r.work(ctx) })
	}
	return r.hits.Load(), g.Wait()
}

// fetchRun is a range that several goroutines fetch, each window once.
type fetchRun struct {
	file         *client.File
	end, request int64
	next, hits   atomic.Int64
}

// work fetches windows until none is left. Each fetch releases the one before.
func (r *fetchRun) work(ctx context.Context) error {
	var x client.Lease
	for {
		off := r.next.Add(r.request) - r.request
		if off >= r.end {
			return r.file.Release(x.Handle)
		}
		if err := r.window(ctx, &x, off, min(r.request, r.end-off)); err != nil {
			return err
		}
	}
}

// window fetches all of one window, however many answers that takes.
func (r *fetchRun) window(ctx context.Context, x *client.Lease, off, length int64) error {
	for end := off + length; off < end; off += x.Fetched {
		err := r.file.FetchInto(ctx, x, off, end-off, client.FetchOptions{MaxSegments: segments, Release: x.Handle})
		if err != nil {
			return err
		}
		if x.Fetched == 0 {
			return fmt.Errorf("%s ends at %d", r.file.Name(), off)
		}
		for _, seg := range x.Segments {
			if seg.Hit {
				r.hits.Add(seg.Length)
			}
		}
	}
	return nil
}

// fetchResident measures a FETCH of an extent that is in the pool, and its
// RELEASE: the median in seconds, by one goroutine. It returns the FETCH's room
// for segments too.
func (s *stage) fetchResident(ctx context.Context, m *hbmfsMount) (measure, int, error) {
	f, err := m.client.Open(m.path(fileName))
	if err != nil {
		return nil, 0, err
	}
	s.undo.add(f.Close)
	var x client.Lease
	// A context that can't end: a resident extent is there at once.
	ctx = context.WithoutCancel(ctx)
	call := func() error {
		if err := f.FetchInto(ctx, &x, 0, extent, client.FetchOptions{MaxSegments: segments}); err != nil {
			return err
		}
		return f.Release(x.Handle)
	}
	return medianTime(call), segments, call()
}
