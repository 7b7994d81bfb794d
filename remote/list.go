package remote

import (
	"context"
	"time"

	"hbmfs/remote/namespace"
	"hbmfs/remote/prefetch"
	"hbmfs/remote/session"
	"hbmfs/remote/term"
	"hbmfs/remote/wire"
)

// List returns the entries of a directory, in no order, and their age: at most
// [prefetch.MaxAge], and 0 unless the directory came ahead, with one that a walk
// listed before. The errors are those of [Target.Stat]. The time-out is per page.
func (t *Target) List(ctx context.Context, dataset, path string) ([]namespace.Entry, time.Duration, error) {
	return t.lister.List(ctx, dataset, path)
}

// listTarget is how package prefetch asks the target.
type listTarget struct{ c *caller }

// Session implements [prefetch.Target].
func (t listTarget) Session() (prefetch.Session, error) {
	s, err := t.c.sessions.Get()
	if s == nil {
		return nil, err
	}
	return listSession{t.c, s}, nil
}

// Call implements [prefetch.Target].
func (t listTarget) Call(ctx context.Context, f func(context.Context, prefetch.Session, func()) error) error {
	return t.c.longCall(ctx, func(ctx context.Context, s *session.Session, idle *time.Timer) error {
		return f(ctx, listSession{t.c, s}, func() { idle.Reset(t.c.cfg.Timeout) })
	})
}

// listSession makes List calls in a session, whose term the answers extend.
type listSession struct {
	c *caller
	s *session.Session
}

// List implements [prefetch.Session].
func (l listSession) List(ctx context.Context, req *wire.ListRequest) (prefetch.Stream, error) {
	req.Session = l.s.ID
	sent := l.c.cfg.Clock()
	pages, err := l.c.control.List(ctx, req)
	if err != nil {
		return nil, err
	}
	return &listStream{pages: pages, sent: sent, term: l.s.Term}, nil
}

type listStream struct {
	pages prefetch.Stream
	sent  time.Duration // by the mount's clock, the request was
	term  *term.Renewer
}

// Recv implements [prefetch.Stream].
func (l *listStream) Recv() (*wire.ListPage, error) {
	page, err := l.pages.Recv()
	if err == nil {
		l.term.Granted(l.sent, page.TermMs)
	}
	return page, err
}
