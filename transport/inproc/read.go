package inproc

import (
	"context"
	"fmt"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// Read implements [transport.Link]. A worker reads the source, since that may
// stall for longer than ctx lasts.
func (l *link) Read(ctx context.Context, file transport.FileRef, off int64, n int) (transport.Buffer, transport.Result) {
	until := time.Now().Add(l.limit)
	if n < 1 || n > landing.Largest {
		return nil, transport.Result{Err: fmt.Errorf("inproc: %d bytes at %d of file %d: %w", n, off, file.Handle, transport.ErrRange)}
	}
	t, err := l.admit(ctx, until)
	if err != nil {
		return nil, transport.Result{Err: err}
	}
	r := landing.NewRead(file, off, landing.GetBuffer(n))
	l.mu.Lock()
	closed := l.closed.Load()
	if !closed {
		l.take(t, r.Request())
		l.queue <- t
	}
	l.mu.Unlock()
	if closed {
		l.plain <- t
		r.Abandon()
		return nil, transport.Result{Err: errClosed}
	}
	return r.Wait(ctx, until)
}

// admit waits for a credit.
func (l *link) admit(ctx context.Context, until time.Time) (*task, error) {
	select {
	case t := <-l.plain:
		return t, nil
	default:
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case t := <-l.plain:
		return t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.ctx.Done():
		return nil, errClosed
	case <-timer.C:
		return nil, fmt.Errorf("inproc: %w", landing.ErrOverdue)
	}
}

// giveBack gives a credit back, and returns the first read that is chained to t.
func (l *link) giveBack(t *task, plain bool) (next *task) {
	if plain {
		l.plain <- t // has room
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next, t.next = t.next, nil
	l.free = append(l.free, t)
	return next
}
