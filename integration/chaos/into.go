package main

import (
	"context"
	"errors"
	"time"

	"hbmfs/fs/client"
)

// loadInto takes files into buffers of this process's.
func (t *thread) loadInto() {
	for !t.board.over.Load() {
		t.number = rootFiles + t.rand.IntN(setFiles)
		t.intoTurn(t.rand.IntN(100))
	}
	t.closeSpace()
	t.close()
}

// intoTurn takes some files into a buffer, which goes before its mount, or after.
func (t *thread) intoTurn(n int) {
	err := t.takeInto(n)
	if err != nil {
		t.failed(err)
		time.Sleep(10 * time.Millisecond) // the mount may be gone
	}
	t.closeFile()
	if err != nil || t.rand.IntN(8) == 0 {
		if t.rand.IntN(2) == 0 {
			t.closeSpace()
		}
		t.close()
		t.closeSpace()
	}
}

func (t *thread) takeInto(n int) (err error) {
	for ; err == nil && n >= 0 && !t.board.over.Load(); n-- {
		if err = t.withMount(); err == nil {
			err = t.withSpace()
		}
		if err != nil {
			return err
		}
		t.mayDie()
		if t.rand.IntN(2) == 0 {
			err = t.batchInto()
		} else {
			err = t.fileInto()
		}
	}
	return err
}

// fileInto opens a file, and takes parts of it into the buffer; some it breaks off.
func (t *thread) fileInto() error {
	t.closeFile()
	t.number = t.rand.IntN(files)
	if err := t.openOne(); err != nil {
		return err
	}
	for i := t.rand.IntN(4); i >= 0 && t.space.lost == 0; i-- {
		off, n := t.span()
		if err := t.readInto(off, n); err != nil {
			return err
		}
	}
	return nil
}

func (t *thread) readInto(off, n int64) error {
	ctx := context.Background()
	if t.rand.IntN(16) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(t.rand.Int64N(int64(4*time.Millisecond))))
		defer cancel()
	}
	at := t.space.place(t.rand)
	q := t.ask(&t.opening, off, n)
	defer t.state.begin(opInto, t.number)()
	p, err := t.file.ReadInto(ctx, t.space.buf, at, off, n)
	if err != nil {
		t.space.back(at, false)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		return err
	}
	t.countPlaced(q, p)
	t.placed(opInto, q, answer{p.Fetched, p.FileSize, false, p.Unsettled, p.Why}, at)
	return nil
}

// batchInto has many files of the set be opened by name, and placed.
func (t *thread) batchInto() error {
	dir, err := t.mount.OpenDir(t.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	var asks []asked
	var wants []client.Want
	for range 1 + t.rand.IntN(spaceSlots) {
		o := t.byName(rootFiles + t.rand.IntN(setFiles))
		off, n := t.span()
		asks = append(asks, t.ask(o, off, n))
		wants = append(wants, client.Want{Name: fileName(o.number), Offset: off, Length: n, At: t.space.place(t.rand)})
	}
	defer t.state.begin(opBatch, t.number)()
	var b client.Batch
	err = dir.FetchFiles(context.Background(), &b, wants, client.BatchOptions{Into: t.space.buf})
	for i, r := range b.Results {
		t.result(asks[i], wants[i].At, r)
	}
	for i := len(b.Results); i < len(wants); i++ {
		t.space.back(wants[i].At, false)
	}
	return err
}

// result judges one of a batch.
func (t *thread) result(q asked, at int64, r client.Result) {
	if r.Err != nil {
		t.number = q.number
		t.failed(r.Err)
		t.space.back(at, false)
		return
	}
	t.countPlaced(q, client.Placed{Fetched: r.Fetched, Path: r.Path})
	t.placed(opBatch, q, answer{r.Fetched, r.FileSize, false, r.Unsettled, r.Why}, at)
}
