package remote

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"hbmfs/remote/session"
	"hbmfs/transport"
)

// Waits between attempts to get a session: doubled each time, with jitter.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
)

// run replaces each session that failed.
func (c *connector) run() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case s := <-c.sessions.Lost():
			c.log.Warn("session lost", "", "target", c.cfg.Addr, "err", c.sessions.Why())
			s.Cancel()
			c.sessions.Retire(s)
			c.memories.DetachAll()
			closeAll(c.kept.Shed(1)) // rather than to open them again
			began := time.Now()
			if !c.reconnect() {
				return
			}
			c.log.Log(slog.LevelInfo, "session recovered", "", "target", c.cfg.Addr, "after", time.Since(began))
		}
	}
}

// reconnect tries until there is a session, or returns false at the end.
func (c *connector) reconnect() bool {
	wait := minBackoff
	var r recovery
	for sleep(c.ctx, wait/2+rand.N(wait/2)) {
		err := c.replace(&r)
		if err == nil {
			return true
		}
		c.outage.Begin(time.Now()) // unless it goes on
		c.cfg.Log.Debug("session not recovered", "target", c.cfg.Addr, "err", err)
		c.sessions.StillNone(err)
		wait = min(2*wait, maxBackoff)
	}
	return false
}

// recovery is the attempts to replace one session.
type recovery struct {
	reached time.Time // when the target first gave a session; zero before
	strict  bool      // a file that can't be opened now fails the attempt
	extend  func()    // something was answered: the attempt may go on
}

// replace makes a session with the links, memories and files of the last one. It
// goes on as long as no answer takes longer than the time-out.
func (c *connector) replace(r *recovery) error {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	idle := time.AfterFunc(c.cfg.Timeout, func() {
		cancel(fmt.Errorf("target %s: %w: no answer within %v", c.cfg.Addr, transport.ErrConnLost, c.cfg.Timeout))
	})
	defer idle.Stop()
	r.extend = func() { idle.Reset(c.cfg.Timeout) }
	err := c.replaceOnce(ctx, r)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *connector) replaceOnce(ctx context.Context, r *recovery) error {
	c.conn.ResetConnectBackoff()
	s, err := c.openSession(ctx)
	if err != nil {
		return err
	}
	c.outage.End()
	if r.reached.IsZero() {
		r.reached = time.Now()
	}
	r.strict = time.Since(r.reached) < c.cfg.Timeout/2 // so that requests that wait live on
	if err = c.memories.redial(ctx, s, r.extend); err == nil {
		err = c.reopenAll(ctx, s, r)
	}
	if err == nil {
		err = c.memories.MoveTo(ctx, s.Links, func() error { return c.sessions.Install(s) })
	}
	if err != nil {
		s.Abandon()
		c.memories.DetachAll()
		return err
	}
	c.installed(s)
	return nil
}

// installed follows when a session has become the current one.
func (c *connector) installed(s *session.Session) {
	c.logRoots(s.Roots)
	select {
	case <-s.Ended(): // before anyone could be told
		c.sessions.Fail(s, transport.ErrConnLost)
	default:
	}
	c.memories.queues.pump()
}
