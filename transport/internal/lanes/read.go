package lanes

import (
	"context"
	"fmt"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// Read implements [transport.Link], into a pooled buffer.
func (l *Link) Read(ctx context.Context, file transport.FileRef, off int64, n int) (transport.Buffer, transport.Result) {
	if err := l.CheckRead(file, off, n); err != nil {
		return nil, transport.Result{Err: err}
	}
	return l.Carry(ctx, landing.NewRead(file, off, landing.GetBuffer(n)))
}

// CheckRead returns an error wrapping [transport.ErrRange] if no plain read can be
// for those bytes.
func (l *Link) CheckRead(file transport.FileRef, off int64, n int) error {
	if n < 1 || int64(n) > l.cfg.Plan.MaxLen {
		return fmt.Errorf("%s %s: %d bytes at %d of file %d: %w", l.cfg.Name, l.Session.Addr, n, off, file.Handle, transport.ErrRange)
	}
	return nil
}

// Carry carries a plain read out, and returns as [transport.Link.Read] does.
func (l *Link) Carry(ctx context.Context, r *landing.Read) (transport.Buffer, transport.Result) {
	until := time.Now().Add(landing.ReadLimit(l.Session.Timeout))
	lane, err := l.admit(ctx, r.Request(), until)
	if err != nil {
		r.Abandon()
		return nil, transport.Result{Err: err}
	}
	l.flush(lane)
	asked := *r.Request().Request // r is someone else's once Wait has returned
	buf, res := r.Wait(ctx, until)
	if res.Err == landing.ErrOverdue {
		res.Err = l.Failure(&asked, res.Err)
	}
	return buf, res
}

// admit is [Link.place] that waits for a credit.
func (l *Link) admit(ctx context.Context, r landing.Request, until time.Time) (lane uint64, err error) {
	lane, taken, err := l.place(r)
	if taken > 0 || err != nil {
		return lane, err
	}
	l.hungry.Add(1)
	defer func() {
		l.hungry.Add(-1)
		l.freed() // there may be more, or r did without
	}()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		if lane, taken, err = l.place(r); taken > 0 || err != nil {
			return lane, err
		}
		select {
		case <-l.credit:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-l.ctx.Done():
			return 0, l.ended()
		case <-timer.C:
			return 0, l.Failure(r.Request, landing.ErrOverdue)
		}
	}
}

// freed tells a plain read that waits that there may be a credit.
func (l *Link) freed() {
	if l.hungry.Load() > 0 {
		select {
		case l.credit <- struct{}{}:
		default:
		}
	}
}
