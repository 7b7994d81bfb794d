package devmemtcp

import (
	"context"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/lanes"
)

// link is the pairs to one target.
type link struct {
	lanes.Link
	owner    *devmem
	counters receive.Counters
	tokens   atomic.Int64 // of fetches that are held
}

func newLink(t *devmem, s transport.Session) *link {
	l := &link{owner: t}
	l.Init(lanes.Config{Name: Name, Session: s, Plan: plan, Dial: l.dial, Ended: l.endLoans})
	return l
}

// Stats implements [transport.Link].
func (l *link) Stats() transport.LinkStats {
	s := l.Link.Stats()
	s.Devmem = l.counters.Stats(l.tokens.Load() + l.owner.lent.Load())
	return s
}

func (l *link) dial(ctx context.Context) (*lanes.Conn, error) {
	c, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	return &c.Conn, nil
}
