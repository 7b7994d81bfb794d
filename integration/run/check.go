package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/fs/client"
)

const (
	// filesInFlight is how many files are fetched and compared at once.
	filesInFlight = 16
	// windowExtents bounds a FETCH, so that all of those in flight fit into
	// a fraction of a default pool.
	windowExtents = 4
	// provenOn is the least size of the file that the checker is proven on.
	provenOn = 4096
)

// checker compares files of a mount, in device memory, with the originals.
type checker struct {
	mount      *client.Mount
	place, src string
	window     int64 // bytes
	tally      tally
	buffers    sync.Pool // of *[]byte, for originals
	progress   *progress
}

// check is the client process: it compares each regular file of the mount at
// place with the one of the same name below src.
func check(ctx context.Context, place, src string) (err error) {
	mount, err := client.OpenMount(place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mount.Close()) }()
	info, err := mount.Info()
	if err != nil {
		return err
	}
	original, err := listTree(src)
	if err != nil {
		return fmt.Errorf("walk the original: %w", err)
	}
	c := &checker{mount: mount, place: place, src: src, window: windowExtents * info.ExtentSize}
	if err := c.prove(ctx, original); err != nil {
		return err
	}
	if err := c.compareAll(ctx, original); err != nil {
		return err
	}
	if wrong := c.tally.print(os.Stdout); wrong > 0 {
		return fmt.Errorf("%w: %d words differ", errMismatch, wrong)
	}
	return nil
}

// prove runs proveChecker on a file that is long enough.
func (c *checker) prove(ctx context.Context, original tree) error {
	for _, name := range slices.Sorted(maps.Keys(original)) {
		if original[name] < provenOn {
			continue
		}
		at, err := c.proveChecker(ctx, name)
		if err == nil {
			fmt.Printf("checker  proven: found the word that it spoiled at %#x of %s, and only that\n", at, name)
		}
		return err
	}
	return fmt.Errorf("no file has %d bytes to prove the checker on; choose another tree with SRC=dir", provenOn)
}

// compareAll compares the small files while it walks the mount, since the kernel
// knows a name best just after it was listed, and then the large ones.
func (c *checker) compareAll(ctx context.Context, original tree) error {
	c.progress = newProgress(original.bytes())
	defer c.progress.close()
	var large []file
	err := c.timed(ctx, smallFiles, func(ctx context.Context, compare func(file)) error {
		return original.visit(ctx, c.place, func(f file) {
			if classOf(f.size) == largeFiles {
				large = append(large, f)
				return
			}
			compare(f)
		})
	})
	if err != nil {
		return err
	}
	return c.timed(ctx, largeFiles, func(_ context.Context, compare func(file)) error {
		for _, f := range large {
			compare(f)
		}
		return nil
	})
}

// timed compares the files that feed passes on, many at once.
func (c *checker) timed(ctx context.Context, of class, feed func(ctx context.Context, compare func(file)) error) error {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filesInFlight)
	err := feed(ctx, func(f file) {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return c.compareFile(ctx, f)
		})
	})
	if failed := group.Wait(); failed != nil {
		err = failed
	}
	c.tally.took[of] = time.Since(began)
	return err
}

func (c *checker) compareFile(ctx context.Context, f file) error {
	var found []mismatch
	r, err := c.fetch(ctx, f.name, func(got, want []byte, off int64) error {
		found = append(found, compare(got, want, off)...)
		c.progress.add(len(got))
		return nil
	})
	if err == nil && r.bytes != f.size {
		err = fmt.Errorf("%s: fetched %d of %d bytes", f.name, r.bytes, f.size)
	}
	r.class = classOf(f.size)
	c.tally.add(f.name, r, found)
	return err
}

// fetch brings a file into device memory, window by window, and visits each
// segment with the original's bytes.
func (c *checker) fetch(ctx context.Context, name string, visit visitor) (r row, err error) {
	r = row{kind: kind{way: emptyFile}, files: 1}
	original, err := os.Open(filepath.Join(c.src, name))
	if err != nil {
		return r, err
	}
	defer original.Close()
	f, err := c.mount.Open(filepath.Join(c.place, name))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var part client.Lease
	for {
		opts := client.FetchOptions{Release: part.Handle}
		if err := f.FetchInto(ctx, &part, r.bytes, c.window, opts); err != nil {
			return r, err
		}
		r.add(&part)
		if err := c.visit(&part, original, visit); err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		if part.Fetched == 0 || r.bytes >= part.FileSize {
			return r, nil // Close releases the last handle
		}
	}
}

// visitor is shown device memory, the original's bytes, and their offset.
type visitor func(got, want []byte, off int64) error

func (c *checker) visit(part *client.Lease, original *os.File, visit visitor) error {
	for _, s := range part.Segments {
		got, err := c.mount.Bytes(s)
		if err != nil {
			return err
		}
		want := c.buffer(s.Length)
		defer c.buffers.Put(&want)
		if _, err := original.ReadAt(want, s.FileOffset); err != nil {
			return fmt.Errorf("read the original: %w", err)
		}
		if err := visit(got, want, s.FileOffset); err != nil {
			return err
		}
	}
	return nil
}

// buffer is size bytes of those that were put back, or new ones.
func (c *checker) buffer(size int64) []byte {
	if b, ok := c.buffers.Get().(*[]byte); ok && int64(cap(*b)) >= size {
		return (*b)[:size]
	}
	return make([]byte, size)
}
