package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// pread measures what the embedded source can't beat: so many threads that read
// the file's extents straight into device memory of the pool's size, over and
// over the same memory, which is mapped and was written before. In bytes a
// second.
func (s *stage) pread(threads int) (measure, error) {
	provider, err := device.Open("memfd")
	if err != nil {
		return nil, err
	}
	region, err := provider.Alloc(transport.Domain{}, poolSize)
	if err != nil {
		return nil, err
	}
	s.undo.add(region.Close)
	clear(region.Bytes())
	f, err := os.Open(s.file())
	if err != nil {
		return nil, err
	}
	s.undo.add(f.Close)
	return func(ctx context.Context) (float64, error) {
		began := time.Now()
		err := readExtents(ctx, f, s.size, region.Bytes(), threads)
		return float64(s.size) / time.Since(began).Seconds(), err
	}, nil
}

// readExtents reads a file's extents by so many threads, each into its place
// modulo the memory's size.
func readExtents(ctx context.Context, f *os.File, size int64, mem []byte, threads int) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range threads {
		g.Go(func() error {
			for {
				off := next.Add(extent) - extent
				if off >= size {
					return nil
				}
				dst := mem[off%int64(len(mem)):][:min(extent, size-off)]
				if _, err := f.ReadAt(dst, off); err != nil {
					return errors.Join(fmt.Errorf("read %s at %d: %w", f.Name(), off, err), ctx.Err())
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
		})
	}
	return g.Wait()
}
