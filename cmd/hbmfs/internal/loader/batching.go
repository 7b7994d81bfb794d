package loader

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"hbmfs/cmd/hbmfs/internal/stream"
	"hbmfs/fs/client"
)

// batching gets samples by BATCH on the set's directory: no file is opened.
type batching struct {
	p    *playing
	most int64 // bytes of a call at most
}

func beginBatching(p *playing) epochReader {
	b := &batching{p: p}
	b.most, _ = stream.Share(p.via.Info, p.Workers)
	return b
}

func (b *batching) worker() sampleReader { return &batcher{batching: b} }

// Close implements [io.Closer].
func (*batching) Close() error { return nil }

// batcher is one worker's. It holds what its latest call got.
type batcher struct {
	*batching
	t    tally
	dir  *client.Dir
	got  client.Batch
	left []wanted // of the batch, from where they are to be gone on from
	asks []client.Want
}

func (b *batcher) tally() *tally { return &b.t }

// get implements [sampleReader]. Each sample of a batch took as long as the batch did.
func (b *batcher) get(ctx context.Context, batch []wanted) (err error) {
	if b.dir == nil {
		if b.dir, err = b.p.via.Mount.OpenDir(b.p.via.Dir); err != nil {
			return err
		}
	}
	began := time.Now()
	b.left = append(b.left[:0], batch...)
	for len(b.left) > 0 {
		if err := b.call(ctx); err != nil {
			return err
		}
	}
	for range batch {
		b.t.samples++
		b.t.took = append(b.t.took, time.Since(began))
	}
	return nil
}

// call asks for as many of what is left as may be held at once, and waits a while for
// room if others have pinned too much.
func (b *batcher) call(ctx context.Context) error {
	for began := time.Now(); ; {
		b.ask()
		// The context is one that can't end, as FETCH's is.
		if err := b.dir.FetchFiles(context.Background(), &b.got, b.asks, client.BatchOptions{Release: b.got.Handle}); err != nil {
			return err
		}
		progress, err := b.take()
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case progress:
			return nil
		case time.Since(began) > stream.RoomWait:
			return b.got.Results[0].Err
		}
		time.Sleep(stream.RoomRetry)
	}
}

// ask lists what to ask for: of the first sample, as much as may be held, and of others
// what that leaves.
func (b *batcher) ask() {
	b.asks = b.asks[:0]
	room := b.most
	for i := 0; i < len(b.left) && room > 0; i++ {
		s := &b.left[i]
		n := min(s.Len, room)
		b.asks = append(b.asks, client.Want{Name: b.p.Set.Files[s.File].Name, Offset: s.Off, Length: n})
		room -= n
	}
}

// take counts and checks what came, and leaves what is missing. It reports whether
// anything came: if not, there was no room.
func (b *batcher) take() (progress bool, err error) {
	missing := b.left[:0]
	for i, s := range b.left {
		if i < len(b.got.Results) {
			r := &b.got.Results[i]
			if r.Err != nil && !errors.Is(r.Err, syscall.ENOSPC) {
				return false, r.Err
			}
			if err := b.look(s, r); err != nil {
				return false, err
			}
			if r.Err == nil && r.Fetched == 0 && !r.More {
				return false, fmt.Errorf("%s: no bytes came at %d of %d", b.p.Set.path(b.p.via.Dir, s.File), s.Off, r.FileSize)
			}
			s.Off, s.Len = s.Off+r.Fetched, s.Len-r.Fetched
			progress = progress || r.Fetched > 0
		}
		if s.Len > 0 {
			missing = append(missing, s)
		}
	}
	b.left = missing
	return progress, nil
}

// look counts a result, and checks what lies in device memory, if that can be told and seen.
func (b *batcher) look(s wanted, r *client.Result) error {
	if r.Fetched == 0 {
		return nil
	}
	b.t.lease(&client.Lease{Segments: r.Segments, Fetched: r.Fetched, Path: r.Path, Why: r.Why, Unsettled: r.Unsettled})
	if !b.p.checks {
		return nil
	}
	for _, seg := range r.Segments {
		data, err := b.p.via.Mount.Bytes(seg)
		if err != nil {
			return err
		}
		if err := b.p.Set.Workload.check(data, s.File, seg.FileOffset, s.all); err != nil {
			return b.p.wrong(s.File, err)
		}
	}
	return nil
}

// Close implements [io.Closer]: it releases what is held.
func (b *batcher) Close() error {
	if b.dir == nil {
		return nil
	}
	return b.dir.Close()
}
