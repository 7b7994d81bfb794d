package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hbmfs/integration/peers/load"
	"hbmfs/integration/peers/tagged"
)

const (
	poolSize  = 512 << 20 // of the mounts that fetches are measured on
	extent    = 1 << 20   // their extents, and the request size of the peers
	fileName  = load.File // what is measured
	scrubName = "scrub"   // what fills a pool before a cold fetch
)

// bench is what all rows share.
type bench struct {
	options
	scratch string // directory of this run; removed at its end
	data    string // below it: holds fileName and scrubName
	hbmfs   string // the program, built from this tree
	files   int    // of the dataset for loaders
	undo    undo
	title   string // of what is measured now, for progress
}

// newBench builds hbmfs and writes the files. Its undo takes all of it away.
func newBench(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.undo.run())
		}
	}()
	if os.Geteuid() != 0 {
		return nil, errors.New("must be root: it mounts file systems")
	}
	if err := checkRoom(o.size); err != nil {
		return nil, err
	}
	if b.files, err = loaderRoom(o); err != nil {
		return nil, err
	}
	if err := b.makeScratch(); err != nil {
		return nil, err
	}
	return b, b.fill(ctx)
}

func (b *bench) makeScratch() error {
	dir, err := os.MkdirTemp("", "hbmfs-bench-")
	if err != nil {
		return err
	}
	b.undo.add(func() error { return os.RemoveAll(dir) })
	b.scratch, b.data = dir, filepath.Join(dir, "data")
	return errors.Join(os.Mkdir(b.data, 0o755), os.Mkdir(filepath.Join(dir, "mnt"), 0o755))
}

func (b *bench) fill(ctx context.Context) error {
	b.title = "set-up"
	b.say("building hbmfs")
	if err := b.build(ctx); err != nil {
		return err
	}
	b.say("writing " + formatSize(b.size) + " to " + b.data)
	return errors.Join(
		tagged.Write(ctx, b.file(), 1, b.size),
		tagged.Write(ctx, filepath.Join(b.data, scrubName), 2, poolSize))
}

// file is the path of the measured file in the target's own file system.
func (b *bench) file() string { return filepath.Join(b.data, fileName) }

// warm brings the measured file into the page cache.
func (b *bench) warm(ctx context.Context) error {
	_, err := readRange(ctx, b.file(), 0, b.size, extent)
	return err
}

// say reports progress.
func (b *bench) say(what string) {
	fmt.Fprintf(os.Stderr, "%-9s %s\n", b.title, what)
}
