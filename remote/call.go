package remote

import (
	"context"
	"fmt"
	"time"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Waits between attempts of a call whose connection was lost.
const (
	minRetry = 5 * time.Millisecond
	maxRetry = 200 * time.Millisecond
)

// call runs f, which makes one control call, until it succeeds or fails for a
// reason that a new connection would not cure, or the time-out is over.
func (t *Target) call(ctx context.Context, f func(context.Context, *session) error) error {
	return t.timed(ctx, func(ctx context.Context) error { return t.retryCall(ctx, f) })
}

// timed runs f for no longer than the time-out.
func (t *Target) timed(ctx context.Context, f func(context.Context) error) error {
	inner, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	return t.overdue(ctx, inner, f(inner))
}

// longCall is [Target.call] for calls that take their time: f keeps idle from
// firing while there is progress.
func (t *Target) longCall(ctx context.Context, f func(context.Context, *session, *time.Timer) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(t.cfg.Timeout, cancel)
	defer idle.Stop()
	return t.overdue(ctx, inner, t.retryCall(inner, func(ctx context.Context, s *session) error {
		return f(ctx, s, idle)
	}))
}

// overdue gives an error that came of the time-out, and not of the caller's own
// context, its name.
func (t *Target) overdue(outer, inner context.Context, err error) error {
	if err == nil || inner.Err() == nil {
		return err
	}
	if outer.Err() != nil {
		return outer.Err()
	}
	return fmt.Errorf("target %s: %w: no answer within %v: %w", t.cfg.Addr, transport.ErrConnLost, t.cfg.Timeout, err)
}

// retryCall is [Target.insist] for control calls, and counts those that the
// target answered.
func (t *Target) retryCall(ctx context.Context, f func(context.Context, *session) error) error {
	err := t.insist(ctx, f)
	if ctx.Err() == nil && !isLost(err) {
		t.counters.roundTrips.Add(1)
	}
	return err
}

// insist runs f with the session of the moment, until it succeeds, fails for a
// reason that another connection or session would not cure, or ctx ends.
func (t *Target) insist(ctx context.Context, f func(context.Context, *session) error) error {
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		s, err := t.await(ctx)
		if err != nil {
			return err
		}
		err = fromStatus(f(ctx, s))
		if ctx.Err() != nil || !isLost(err) {
			return err
		}
		if needsSession(err) {
			t.fail(s, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// Stat returns the attributes of what path names in the dataset; a symbolic link
// is not followed. An empty path is the root. The error wraps a [syscall.Errno]
// of the target's, or [transport.ErrConnLost].
func (t *Target) Stat(ctx context.Context, dataset, path string) (Attr, error) {
	var attr Attr
	err := t.call(ctx, func(ctx context.Context, s *session) error {
		reply, err := t.control.Stat(ctx, &wire.StatRequest{Session: s.id, Dataset: []byte(dataset), Path: []byte(path)})
		if err == nil {
			attr, err = newAttr(reply.Attr)
		}
		return err
	})
	return attr, err
}

// Statfs describes the file system that the dataset is on.
func (t *Target) Statfs(ctx context.Context, dataset string) (Statfs, error) {
	var st Statfs
	err := t.call(ctx, func(ctx context.Context, s *session) error {
		r, err := t.control.Statfs(ctx, &wire.StatfsRequest{Session: s.id, Dataset: []byte(dataset)})
		if err != nil {
			return err
		}
		st = Statfs{
			Blocks: r.Blocks, Bfree: r.Bfree, Bavail: r.Bavail,
			Files: r.Files, Ffree: r.Ffree,
			Bsize: r.Bsize, Namelen: r.Namelen, Frsize: r.Frsize,
		}
		return nil
	})
	return st, err
}
