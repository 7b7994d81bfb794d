package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"hbmfs/integration/peers/load"
	"hbmfs/integration/peers/tagged"
)

const (
	loaderFiles = 8000 // of a dataset, if memory allows
	quickFiles  = 2000
	leastFiles  = 500
	// poolPerFile is what a mount's pool has for each of them: twice the most
	// that one takes.
	poolPerFile = 256 << 10
)

// dataset is a directory of many files, as a loader of samples meets it. Workers
// know its names and sizes by how many there are.
type dataset struct {
	dir   string
	files int
}

// size is the sum of all files, in bytes.
func (d dataset) size() (sum int64) {
	for i := range d.files {
		sum += load.Size(i)
	}
	return sum
}

// pool is what a mount needs to hold all of it, in bytes.
func (d dataset) pool() int64 { return int64(d.files) * poolPerFile }

// needs is the memory and the disk that a row of it takes beside: two copies of
// the files, one of them a peer's, and a pool.
func (d dataset) needs() int64 { return d.pool() + 2*d.size() }

// dataset returns the dataset that the rows of loaders share. The first that asks
// has it written.
func (b *bench) dataset(ctx context.Context) (dataset, error) {
	d := dataset{dir: filepath.Join(b.scratch, "loader"), files: b.files}
	if _, err := os.Stat(d.dir); err == nil {
		return d, nil
	}
	b.say(fmt.Sprintf("writing %d files to %s", d.files, d.dir))
	return d, d.write(ctx, d.dir)
}

// write writes all files into a new directory.
func (d dataset) write(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range d.files {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, load.Name(i)), taggedFile(i), 0o644); err != nil {
			return err
		}
	}
	return syncFiles(dir)
}

// syncFiles has the file system of a directory written to disk, so that no
// write-back runs beside the measurements.
func syncFiles(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))), f.Close())
}

// taggedFile is what a dataset's file i holds.
func taggedFile(i int) []byte {
	buf := make([]byte, load.Size(i))
	tagged.Fill(buf, uint64(i)+loaderTag, 0)
	return buf
}

// loaderTag is the tag of a dataset's first file. Those before are other files'.
const loaderTag = 16

// warm brings all files into the page cache.
func (d dataset) warm(ctx context.Context) error {
	return errors.Join(load.Do(load.Job{Kind: load.ReadFiles, Dir: d.dir, Count: d.files, Threads: 1}), context.Cause(ctx))
}
