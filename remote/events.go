package remote

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/remote/control"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// startEvents returns once the target tells this session of changes.
func (c *connector) startEvents(ctx context.Context, s *session) error {
	streamCtx, cancel := context.WithCancel(c.ctx)
	stop := context.AfterFunc(ctx, cancel)
	stream, err := c.control.Events(streamCtx)
	if err == nil {
		err = stream.Send(&wire.EventsRequest{Session: s.id})
	}
	if err == nil {
		_, err = stream.Header()
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return control.Error(err)
	}
	s.events, s.ctx, s.cancel = stream, streamCtx, cancel
	c.workers.Go(func() {
		defer close(s.ended)
		err := control.Error(c.receiveEvents(s))
		s.term.End()
		if !errors.Is(err, transport.ErrConnLost) {
			err = fmt.Errorf("%w: %w", transport.ErrConnLost, err)
		}
		c.sessions.fail(s, err)
	})
	return nil
}

func (c *connector) receiveEvents(s *session) error {
	for {
		e, err := s.events.Recv()
		if err != nil {
			return err
		}
		if err := c.receiveEvent(s, e); err != nil {
			return err
		}
	}
}

func (c *connector) receiveEvent(s *session, e *wire.Event) error {
	if c.sessions.vouching.Load() == s { // one that was given up may have been heard of late
		c.outage.End()
	}
	if e.Renewed != 0 {
		c.counters.renewals.Add(1)
		return s.term.Answered(e.Renewed, e.TermMs)
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
	if f := c.files.find(s, e.Handle); f != nil {
		c.cfg.Log.Debug("file changed", "dataset", f.dataset, "path", f.path, "why", e.Reason)
		f.expire()
	}
	return s.acknowledge(e.Id)
}

func (s *session) acknowledge(event uint64) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.events.Send(&wire.EventsRequest{Ack: event})
}

// renew asks for a term on the session's stream. If that fails, so has the
// session.
func (s *session) renew(id uint64) {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.events.Send(&wire.EventsRequest{Renew: id})
}
