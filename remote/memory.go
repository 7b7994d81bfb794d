package remote

import (
	"context"

	"hbmfs/remote/links"
	"hbmfs/remote/session"
	"hbmfs/transport"
)

// memories are the regions of a target's users, and the queues of requests into them.
type memories struct {
	*caller
	*links.Memories
	queues queues
	first  *queue // of the first device's link, by which all goes that has no memory
}

func newMemories(c *caller) *memories {
	m := &memories{caller: c, Memories: links.NewMemories(links.Config{
		Addr: c.cfg.Addr, Log: c.log, Probe: c.cfg.Probe,
		Candidates: c.cfg.Candidates, Transport: c.cfg.Transport, RequireDirect: c.cfg.RequireDirect,
	})}
	for number := range c.cfg.Candidates {
		m.queues = append(m.queues, newQueue(c, number))
	}
	return m
}

// begin chooses the transports, and dials the links of the first session.
func (m *memories) begin(ctx context.Context, s *session.Session) error {
	if err := m.Begin(ctx, s.Links); err != nil {
		return err
	}
	m.first = m.queues[m.First()]
	s.Link = s.Links.To(m.First())
	return nil
}

// redial makes links in a new session as the last one had.
func (m *memories) redial(ctx context.Context, s *session.Session, extend func()) error {
	err := m.Redial(ctx, s.Links, extend)
	s.Link = s.Links.To(m.First())
	return err
}

// attach prepares mem now and in each new session.
func (m *memories) attach(ctx context.Context, mem transport.Memory) error {
	var s *session.Session
	return m.Attach(ctx, mem, func() (now *links.Session, err error) {
		if s, err = m.sessions.Get(); s != nil {
			now = s.Links
		}
		return now, err
	}, func(err error) { m.sessions.Fail(s, err) })
}

// queueOf returns the queue of requests into r, which is nil if it is not attached.
func (m *memories) queueOf(r *links.Memory) *queue {
	if d, ok := r.Decision(); ok {
		return m.queues[d.Number]
	}
	return m.first
}
