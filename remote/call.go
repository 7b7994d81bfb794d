package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hbmfs/remote/control"
	"hbmfs/remote/outage"
	"hbmfs/remote/session"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/logging"
)

// Waits between attempts of a call whose connection was lost.
const (
	minRetry = 5 * time.Millisecond
	maxRetry = 200 * time.Millisecond
)

// awayFraction is what part of the time-out a request waits for a target that has
// been away for longer than that: enough for one more try.
const awayFraction = 5

// caller makes control calls, in the session of the moment.
type caller struct {
	cfg      Config
	log      *logging.Limiter // of what a target can cause
	control  wire.ControlClient
	sessions *session.Current
	outage   outage.Outage
	counters counters
}

func newCaller(cfg Config) *caller {
	c := &caller{cfg: cfg, log: logging.NewLimiter(cfg.Log)}
	c.sessions = session.NewCurrent(cfg.Clock, &c.outage)
	return c
}

// call runs f, which makes one control call, until it succeeds or fails for a
// reason that a new connection would not cure, or the time-out is over.
func (c *caller) call(ctx context.Context, f func(context.Context, *session.Session) error) error {
	w := c.startWait()
	inner, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	return c.overdue(ctx, inner, w, c.retryCall(inner, f))
}

// longCall is [caller.call] for calls that take their time: f keeps idle from
// firing while there is progress.
func (c *caller) longCall(ctx context.Context, f func(context.Context, *session.Session, *time.Timer) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	w := c.startWait()
	idle := time.AfterFunc(w.limit, cancel)
	defer idle.Stop()
	return c.overdue(ctx, inner, w, c.retryCall(inner, func(ctx context.Context, s *session.Session) error {
		return f(ctx, s, idle)
	}))
}

// retryCall is [caller.retry] for control calls, and counts those that the
// target answered.
func (c *caller) retryCall(ctx context.Context, f func(context.Context, *session.Session) error) error {
	err := c.retry(ctx, f)
	if ctx.Err() == nil && !isLost(err) {
		c.outage.End()
		c.counters.roundTrips.Add(1)
	}
	return err
}

// retry runs f with the session of the moment, until it succeeds, fails for a
// reason that another connection or session would not cure, or ctx ends.
func (c *caller) retry(ctx context.Context, f func(context.Context, *session.Session) error) error {
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		s, err := c.sessions.Await(ctx)
		if err != nil {
			return err
		}
		err = control.Error(f(ctx, s))
		if ctx.Err() != nil || !isLost(err) {
			return err
		}
		if needsSession(err) {
			c.sessions.Fail(s, err)
		}
		if !sleep(ctx, wait) {
			return err
		}
	}
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// isLost reports whether err goes away with a new session or connection.
func isLost(err error) bool {
	return errors.Is(err, transport.ErrConnLost) || errors.Is(err, transport.ErrStalled) || needsSession(err)
}

func isStale(err error) bool { return errors.Is(err, transport.ErrStale) }

// needsSession reports whether err goes away with a new session only.
func needsSession(err error) bool {
	return errors.Is(err, transport.ErrSession) || errors.Is(err, transport.ErrUnknownFile) || errors.Is(err, transport.ErrClosed)
}

// wait is a wait for the target's answer.
type wait struct {
	began time.Time
	limit time.Duration
}

func (c *caller) startWait() wait { return wait{time.Now(), c.waitLimit()} }

// waitLimit is how long a new request or call waits for the target.
func (c *caller) waitLimit() time.Duration {
	if c.outage.LongerThan(c.cfg.Timeout) {
		return c.cfg.Timeout / awayFraction
	}
	return c.cfg.Timeout
}

// overdue gives an error that came of the time-out, and not of the caller's own
// context, its name.
func (c *caller) overdue(outer, inner context.Context, w wait, err error) error {
	if err == nil || inner.Err() == nil {
		return err
	}
	if outer.Err() != nil {
		return outer.Err()
	}
	c.outage.Unanswered(w.began)
	err = fmt.Errorf("target %s: %w: no answer within %v%s", c.cfg.Addr, transport.ErrConnLost, w.limit, c.awaySince())
	if cause := c.sessions.Why(); cause != nil && !c.outage.IsOn() {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// awaySince is the end of a message on a request that waited in vain: empty while
// the target is not known to be away.
func (c *caller) awaySince() string {
	since, why := c.outage.Report()
	if since == nil {
		return ""
	}
	return fmt.Sprintf("; unreachable since %s: %s", since.Format(time.TimeOnly), why)
}

// withTarget adds the target's name to an error of a request that waited in vain.
func (c *caller) withTarget(err error) error {
	if !isLost(err) {
		return err
	}
	return fmt.Errorf("target %s: %w%s", c.cfg.Addr, err, c.awaySince())
}
