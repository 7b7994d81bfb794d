package remote

import (
	"context"

	"hbmfs/remote/session"
	"hbmfs/remote/wire"
)

// startEvents returns once the target tells this session of changes.
func (c *connector) startEvents(ctx context.Context, s *session.Session) error {
	if err := s.Listen(ctx, c.ctx, c.control); err != nil {
		return err
	}
	c.workers.Go(func() {
		s.Receive(func(e *wire.Event) error { return c.receiveEvent(s, e) }, func(err error) { c.sessions.Fail(s, err) })
	})
	return nil
}

func (c *connector) receiveEvent(s *session.Session, e *wire.Event) error {
	if c.sessions.Vouching() == s { // one that was given up may have been heard of late
		c.outage.End()
	}
	if e.Renewed != 0 {
		c.counters.renewals.Add(1)
		return s.Term.Answered(e.Renewed, e.TermMs)
	}
	switch {
	case e.Crowded:
		closeAll(c.kept.Yield())
		return nil
	case e.Unlinked != 0:
		if f := c.files.find(s, e.Unlinked); f != nil {
			f.orphan.Store(true)
			f.t.letGo(f)
			if fn := f.onUnlinked.Load(); fn != nil {
				(*fn)()
			}
		}
		return nil
	}
	for _, handle := range e.Recalled {
		if f := c.files.find(s, handle); f != nil {
			f.recall()
		}
	}
	if f := c.files.find(s, e.Handle); f != nil {
		c.cfg.Log.Debug("file changed", "dataset", f.dataset, "path", f.path, "why", e.Reason)
		f.expire()
	}
	return s.Acknowledge(e.Id)
}
