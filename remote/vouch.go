package remote

import (
	"context"
	"fmt"
	"time"

	"hbmfs/remote/outage"
	"hbmfs/transport"
)

// vouchSoonTimeout is how long [File.VouchSoon] waits for a target that does not
// answer, counted from when it stopped to.
const vouchSoonTimeout = time.Second

// Moment is a time by the mount's clock.
type Moment time.Duration

// Now returns the time. It is less than a microsecond's work.
func (t *Target) Now() Moment { return Moment(t.cfg.Clock()) }

// Vouch returns nil if f was still the version that is at the target at some
// moment from since on, as far as a file that is settled can be vouched for. It
// asks the target if the mount's term had passed by then. The error wraps
// [transport.ErrStale], [transport.ErrConnLost] if the target did not answer
// within the time-out, [transport.ErrClosed], [ErrFileClosed], or is ctx's.
func (f *File) Vouch(ctx context.Context, since Moment) error {
	return f.vouch(ctx, since, f.t.cfg.Timeout)
}

// VouchSoon is Vouch for who has something to say if the target does not answer:
// it gives up a second after the target has stopped to.
func (f *File) VouchSoon(ctx context.Context, since Moment) error {
	return f.vouch(ctx, since, vouchSoonTimeout)
}

// IsVouched is [File.Vouch] of a file that is open, where that has nothing to ask the
// target. Where it has, it reports false.
func (f *File) IsVouched(since Moment) bool {
	s := f.t.sessions.Vouching()
	// As vouch has it, in this order.
	return f.settled && s != nil && s.Term.Left(time.Duration(since)) > 0 && !f.Stale()
}

// VouchAhead asks the target, if the mount's term ends soon, and does not wait.
func (f *File) VouchAhead(now Moment) {
	if s := f.t.sessions.Vouching(); s != nil && f.settled {
		s.Term.AskAhead(time.Duration(now))
	}
}

func (f *File) vouch(ctx context.Context, since Moment, timeout time.Duration) (err error) {
	s := f.t.sessions.Vouching()
	if s == nil || s.Term.Left(time.Duration(since)) <= 0 {
		if f.closed.Load() || !f.acquire() { // nobody would tell it of a change
			return fmt.Errorf("%s/%s: %w", f.dataset, f.path, ErrFileClosed)
		}
		defer f.release()
		err = f.t.askTarget(ctx, since, timeout)
	}
	// After the term was looked at: an event that came before it was looked at
	// has made the file stale.
	if f.Stale() {
		return f.errStale()
	}
	return err
}

// askTarget returns nil once the target has answered a question that was sent at
// since or later.
func (t *Target) askTarget(ctx context.Context, since Moment, timeout time.Duration) error {
	left := timeout - t.sessions.Silence()
	if left <= 0 {
		return fmt.Errorf("target %s: %w: it does not answer", t.cfg.Addr, transport.ErrConnLost)
	}
	inner, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	err := t.askUntil(inner, since)
	switch {
	case err == nil || inner.Err() == nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("target %s: %w: no answer within %v", t.cfg.Addr, transport.ErrConnLost, left)
}

func (t *Target) askUntil(ctx context.Context, since Moment) error {
	for {
		s, err := t.sessions.Await(ctx)
		if err != nil {
			return err
		}
		r := s.Term.Ask(time.Duration(since))
		select {
		case <-r.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		if r.OK() {
			return nil
		}
		<-s.Ended() // it has; then another session is awaited
	}
}

// away returns since when the target is away, and why; nil if it is not, or has
// not been for long enough to say so.
func (t *Target) away() (*time.Time, string) {
	if since, why := t.outage.Report(); since != nil {
		return since, why
	}
	if silence := t.sessions.Silence(); silence > vouchSoonTimeout {
		since := time.Now().Add(-silence)
		return &since, outage.NoAnswer
	}
	return nil, ""
}

// TermLeft returns for how long the mount may vouch for what it has open,
// without asking; at most 0 means not at all.
func (t *Target) TermLeft() time.Duration {
	if s := t.sessions.Vouching(); s != nil {
		return s.Term.Left(t.cfg.Clock())
	}
	return 0
}
