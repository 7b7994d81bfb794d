package load

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/fs/client"
)

// batchFiles fetches all of each file by its name, so many with a call. Each call
// releases what the one before has pinned.
func (w *worker) batchFiles() (err error) {
	d, err := w.mount.OpenDir(w.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var got client.Batch
	var items []int
	for {
		if items = w.takeSome(items[:0]); len(items) == 0 {
			return nil
		}
		wants := make([]client.Want, len(items))
		for i, item := range items {
			wants[i] = client.Want{Name: Name(item), Length: MostSize}
		}
		if err := d.FetchFiles(context.Background(), &got, wants, client.BatchOptions{Release: got.Handle}); err != nil {
			return err
		}
		if err := w.countBatch(items, &got); err != nil {
			return err
		}
	}
}

// takeSome appends the items of one call.
func (w *worker) takeSome(items []int) []int {
	for len(items) < w.Depth {
		i, ok := w.take()
		if !ok {
			break
		}
		items = append(items, i)
	}
	return items
}

func (w *worker) countBatch(items []int, got *client.Batch) error {
	if len(got.Results) != len(items) {
		return fmt.Errorf("%d results of %d files", len(got.Results), len(items))
	}
	for i := range got.Results {
		r := &got.Results[i]
		if r.Err != nil {
			return r.Err
		}
		if r.Fetched != Size(items[i]) || len(r.Segments) != 1 {
			return fmt.Errorf("%s: %d of %d bytes in %d segments", Name(items[i]), r.Fetched, Size(items[i]), len(r.Segments))
		}
		w.count(r.Segments[0])
	}
	return nil
}
