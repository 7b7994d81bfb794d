package remote

import (
	"context"
	"fmt"
	"time"

	"hbmfs/remote/session"
	"hbmfs/transport"
)

// MaxRead is the largest plain read, in bytes.
const MaxRead = 1 << 20

// Read returns a buffer with the bytes from off to off+n, or to the end of the
// file if that comes first. n is [MaxRead] at most. The caller releases the
// buffer. A read that is lost is issued again, as requests are.
//
// The error wraps [transport.ErrStale], another of package transport's, or is
// ctx's.
func (f *File) Read(ctx context.Context, off int64, n int) (transport.Buffer, error) {
	if off < 0 || n < 0 || n > MaxRead {
		return nil, fmt.Errorf("read of %d bytes at %d: %w", n, off, transport.ErrRange)
	}
	n = int(min(int64(n), max(f.Size()-off, 0)))
	if n == 0 || f.inHole(ctx, off, n) {
		return zeros(n), nil
	}
	w := f.t.startWait()
	buf, res, begun := f.readNow(ctx, off, n)
	if !begun || isLost(res.Err) && ctx.Err() == nil && time.Since(w.began) < w.limit {
		if begun {
			f.t.counters.retries.Add(1)
		}
		buf, res = f.readLater(ctx, w, off, n)
	} else if res.Err != nil {
		res.Err = f.t.withTarget(res.Err)
	}
	f.t.counters.ended(&res, int64(n))
	if res.Err != nil {
		return nil, f.judge(res.Err)
	}
	f.t.outage.End()
	return buf, nil
}

// readNow reads by the link of the moment, and reports false if there is none.
func (f *File) readNow(ctx context.Context, off int64, n int) (buf transport.Buffer, res transport.Result, begun bool) {
	s, _ := f.t.sessions.Get()
	if s == nil || f.Stale() || f.closed.Load() {
		return nil, res, false
	}
	ref, err := f.refIn(s)
	if err != nil || !f.acquire() {
		return nil, res, false
	}
	defer f.release()
	buf, res = s.Link.Read(ctx, ref, off, n)
	if needsSession(res.Err) {
		f.t.sessions.Fail(s, res.Err)
	}
	return buf, res, true
}

// readLater reads by whatever link there is, or will be before w is over.
func (f *File) readLater(ctx context.Context, w wait, off int64, n int) (buf transport.Buffer, res transport.Result) {
	if f.Stale() {
		return nil, transport.Result{Err: f.errStale()}
	}
	if f.closed.Load() || !f.acquire() {
		return nil, transport.Result{Err: fmt.Errorf("%s/%s: %w", f.dataset, f.path, transport.ErrClosed)}
	}
	defer f.release()
	inner, cancel := context.WithDeadline(ctx, w.began.Add(w.limit))
	defer cancel()
	tries := 0
	err := f.t.retry(inner, func(ctx context.Context, s *session.Session) error {
		if tries++; tries > 1 {
			f.t.counters.retries.Add(1)
		}
		if f.Stale() {
			return f.errStale()
		}
		ref, err := f.refIn(s)
		if err != nil {
			return err
		}
		buf, res = s.Link.Read(ctx, ref, off, n)
		return res.Err
	})
	if err != nil {
		return nil, transport.Result{Err: f.t.overdue(ctx, inner, w, err)}
	}
	return buf, res
}

// zeros is that many of them: a [transport.Buffer].
type zeros int

var zeroBytes [MaxRead]byte // nobody writes to it

// Bytes implements [transport.Buffer].
func (z zeros) Bytes() []byte { return zeroBytes[:z:z] }

// Release implements [transport.Buffer].
func (zeros) Release() {}
