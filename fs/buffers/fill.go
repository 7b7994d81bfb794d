package buffers

import (
	"context"
	"fmt"

	"hbmfs/cache"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

const (
	// window is how many requests of a fill are under way at the most: the last of them
	// has to come within its time limit, behind the others.
	window = 32
	// stride is how many extents of a file are looked for in device memory at a time, so
	// that the cache is not held up.
	stride = 8
	// gatherMax is how much is gathered at once, in bytes, or else one extent: a call that
	// is broken off waits for it.
	gatherMax = 16 << 20
)

// Filled is what came.
type Filled struct {
	Bytes    int64
	Resident int64 // of them, those that were copied on the device
	// Path is the least direct by which any of them came, to where they were copied from
	// if they were, and Why the reason for it.
	Path uapi.Path
	Why  uapi.Reason
}

// checkRange returns an error wrapping [transport.ErrRange] unless n bytes at an offset
// are within the buffer.
func (b *Buffer) checkRange(at, n int64) error {
	if at < 0 || n < 0 || at > b.Size()-n {
		return fmt.Errorf("%w: %d bytes at %d of a buffer of %d", transport.ErrRange, n, at, b.Size())
	}
	return nil
}

// Fill brings bytes [off, off+n) of a file to the place at in the buffer, and returns once
// the device sees them. They are cut short at the end of the file. The caller uses b.
//
// The error wraps [transport.ErrRange], [device.ErrHoles], [cache.ErrOverdue] or
// [cache.ErrClosed], what a transfer failed with, or is ctx's. With ctx's, and with
// [cache.ErrOverdue], the buffer may still be written to, and is in use for so long;
// the next fill of that range waits for it.
func (b *Buffer) Fill(ctx context.Context, src cache.Source, off, n, at int64) (Filled, error) {
	if err := b.checkRange(at, n); err != nil {
		return Filled{}, err
	}
	n = max(0, min(n, src.Size()-off))
	if n == 0 {
		return Filled{}, nil
	}
	if err := b.mem.CheckPages(at, n); err != nil {
		return Filled{}, err
	}
	if err := b.awaitStrays(ctx, at, n); err != nil {
		return Filled{}, err
	}
	f := newFilling(b, src, at-off)
	err := f.run(ctx, off, off+n)
	if err == nil {
		err = f.await(ctx, window)
	}
	got, err := f.leave(ctx, err, at, n)
	if err == nil {
		b.table.tally(&got)
	}
	return got.Filled, err
}

// run starts all of [off, end), a stride at a time.
func (f *filling) run(ctx context.Context, off, end int64) error {
	extent := f.buf.table.cfg.Extent
	for off < end {
		to := min(end, (off/extent+stride)*extent)
		if err := f.piece(ctx, off, to); err != nil {
			return err
		}
		off = to
	}
	return nil
}

// piece requests what is not resident of [off, end), and gathers what is.
func (f *filling) piece(ctx context.Context, off, end int64) error {
	l, err := f.buf.table.cfg.Cache.Present(f.src, f.buf.mem.Domain(), off, end-off)
	if err != nil {
		return err
	}
	f.leases = append(f.leases, l)
	for _, s := range l.Segments() {
		if err := f.request(ctx, off, s.FileOff); err != nil {
			return err
		}
		off = s.FileOff + s.Len
	}
	if err := f.request(ctx, off, end); err != nil {
		return err
	}
	f.submit()
	return f.gather(ctx, l)
}

// request starts the transfer of [off, end), in pieces that end where an extent does.
func (f *filling) request(ctx context.Context, off, end int64) error {
	extent := f.buf.table.cfg.Extent
	for off < end {
		to := min(end, (off/extent+1)*extent)
		r, err := f.take(ctx)
		if err != nil {
			return err
		}
		r.Off, r.Dst = off, transport.Span{Mem: f.buf.mem, Off: off + f.shift, Len: to - off}
		f.batch = append(f.batch, r)
		off = to
	}
	return nil
}

// take returns a request that is in no use, for which it waits if it must.
func (f *filling) take(ctx context.Context) (*transport.Request, error) {
	r, ok := f.idle()
	if !ok {
		f.submit()
		if err := f.await(ctx, 1); err != nil {
			return nil, err
		}
		r, _ = f.idle()
	}
	if !f.turn.TryAcquire(1) {
		f.submit()
		if err := f.awaitTurn(ctx); err != nil {
			f.putBack(r)
			return nil, err
		}
	}
	return r, nil
}

// submit starts what was taken.
func (f *filling) submit() {
	if len(f.batch) == 0 {
		return
	}
	f.begin(len(f.batch))
	f.src.Submit(f.batch)
	f.batch = f.batch[:0]
}

// gather copies the segments of a lease, those that lie side by side in the file at once.
func (f *filling) gather(ctx context.Context, l *cache.Lease) error {
	segs := l.Segments()
	for i := 0; i < len(segs); {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, first := segs[i].FileOff, len(f.spans)
		for end := at; i < len(segs) && segs[i].FileOff == end && end-at < gatherMax; i++ {
			f.spans = append(f.spans, l.Span(i))
			f.note(&segs[i])
			end += segs[i].Len
		}
		f.copying()
		f.buf.mem.Gather(at+f.shift, f.spans[first:], f.copied)
	}
	err := l.Err()
	f.release()
	return err
}

// tally counts what came.
func (t *Table) tally(got *outcome) {
	t.fetched.Add(got.Bytes)
	t.resident.Add(got.Resident)
	for p, n := range got.paths {
		if n > 0 {
			t.paths[p].Add(n)
		}
	}
}
