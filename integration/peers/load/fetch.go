package load

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"hbmfs/fs/client"
)

// segments is the room for segments of each FETCH: the client's default.
const segments = 64

// all is more than a dataset's file has: a fetch is cut short at its end.
const all = 1 << 30

// fetchFiles opens files, fetches all of each, and closes them.
func (w *worker) fetchFiles() error {
	var x client.Lease
	return w.each(func(i int) (int64, error) { return w.fetchWhole(&x, w.path(i)) })
}

func (w *worker) fetchWhole(x *client.Lease, path string) (_ int64, err error) {
	f, err := w.mount.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := w.fetch(f, x, 0, all, 0); err != nil {
		return 0, err
	}
	if x.Fetched != x.FileSize {
		return 0, fmt.Errorf("%s: %d of %d bytes in one fetch", path, x.Fetched, x.FileSize)
	}
	return x.Fetched, nil
}

// fetch fetches a range, releases an earlier handle, and counts hits.
func (w *worker) fetch(f *client.File, x *client.Lease, off, length int64, release uint64) error {
	err := f.FetchInto(context.Background(), x, off, length, client.FetchOptions{MaxSegments: segments, Release: release})
	if err != nil {
		return err
	}
	for _, seg := range x.Segments {
		if seg.Hit {
			w.hits.Add(seg.Length)
		}
	}
	return nil
}

// fetchSamples fetches ranges of one file. Each fetch releases the one before.
func (w *worker) fetchSamples() (err error) {
	f, err := w.mount.Open(filepath.Join(w.Dir, File))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var x client.Lease
	return w.each(func(i int) (int64, error) {
		err := w.fetch(f, &x, w.sampleOffset(i), w.Length, x.Handle)
		if err == nil && x.Fetched != w.Length {
			err = fmt.Errorf("%d of %d bytes in one fetch", x.Fetched, w.Length)
		}
		return x.Fetched, err
	})
}
