package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

const (
	// filesInFlight is how many files are fetched and compared at once.
	filesInFlight = 4
	// windowExtents bounds a FETCH, so that all of those in flight fit into
	// a fraction of a default pool.
	windowExtents = 16
	// provenOn is the least size of the file that the checker is proven on.
	provenOn = 4096
)

// checker compares files of a mount, in device memory, with the originals.
type checker struct {
	mount      *client.Mount
	place, src string
	window     int64 // bytes
	tally      tally
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
	files, err := listBoth(place, src)
	if err != nil {
		return err
	}
	c := &checker{mount: mount, place: place, src: src, window: windowExtents * info.ExtentSize}
	if err := c.prove(ctx, files); err != nil {
		return err
	}
	return c.compareAll(ctx, files)
}

// prove runs proveChecker on a file that is long enough.
func (c *checker) prove(ctx context.Context, files []file) error {
	i := slices.IndexFunc(files, func(f file) bool { return f.size >= provenOn })
	if i < 0 {
		return fmt.Errorf("no file has %d bytes to prove the checker on", provenOn)
	}
	at, err := c.proveChecker(ctx, files[i].name)
	if err != nil {
		return err
	}
	fmt.Printf("checker  proven: found the word that it spoiled at %#x of %s, and only that\n", at, files[i].name)
	return nil
}

func (c *checker) compareAll(ctx context.Context, files []file) error {
	var total int64
	for _, f := range files {
		total += f.size
	}
	c.progress = newProgress(total)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filesInFlight)
	for _, f := range files {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return c.compareFile(ctx, f) })
	}
	err := group.Wait()
	c.progress.close()
	if err != nil {
		return err
	}
	if wrong := c.tally.print(os.Stdout, time.Since(began)); wrong > 0 {
		return fmt.Errorf("%w: %d words differ", errMismatch, wrong)
	}
	return nil
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
	c.tally.add(f.name, r, found)
	return err
}

// fetch brings a file into device memory, window by window, and visits each
// segment with the original's bytes.
func (c *checker) fetch(ctx context.Context, name string, visit visitor) (r row, err error) {
	r = row{way: emptyFile, files: 1}
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
	var part client.Fetch
	for {
		opts := client.FetchOptions{Segments: uapi.MaxSegments, Release: part.Handle}
		if err := f.FetchInto(ctx, &part, r.bytes, c.window, opts); err != nil {
			return r, err
		}
		r.add(&part)
		if err := c.visit(&part, original, visit); err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		if part.Fetched == 0 || r.bytes >= part.FileSize {
			_, err := f.Release(part.Handle)
			return r, err
		}
	}
}

// visitor is shown device memory, the original's bytes, and their offset.
type visitor func(got, want []byte, off int64) error

func (c *checker) visit(part *client.Fetch, original *os.File, visit visitor) error {
	for _, s := range part.Segments {
		got, err := c.mount.Bytes(s)
		if err != nil {
			return err
		}
		want := make([]byte, s.Length)
		if _, err := original.ReadAt(want, s.FileOffset); err != nil {
			return fmt.Errorf("read the original: %w", err)
		}
		if err := visit(got, want, s.FileOffset); err != nil {
			return err
		}
	}
	return nil
}
