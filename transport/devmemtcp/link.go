package devmemtcp

import (
	"context"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
)

// link is the pairs to one target.
type link struct {
	lanes.Link
	owner *devmem
	counters
}

// counters are what DevmemStats is made of.
type counters struct {
	deviceBytes, hostBytes, linearBytes, fragments, recvmsgs, tokenCalls, tokens atomic.Int64
}

func newLink(t *devmem, s transport.Session) *link {
	l := &link{owner: t}
	l.Init(lanes.Config{Name: Name, Session: s, MaxLen: MaxLen, Dial: l.dial, Ended: l.endLoans})
	return l
}

// Stats implements [transport.Link].
func (l *link) Stats() transport.LinkStats {
	s := l.Link.Stats()
	s.Devmem = transport.DevmemStats{
		DeviceBytes: l.deviceBytes.Load(),
		HostBytes:   l.hostBytes.Load(),
		LinearBytes: l.linearBytes.Load(),
		Fragments:   l.fragments.Load(),
		Recvmsgs:    l.recvmsgs.Load(),
		TokenCalls:  l.tokenCalls.Load(),
		Tokens:      l.tokens.Load() + l.owner.lent.Load(),
	}
	return s
}

func (l *link) dial(ctx context.Context) (*lanes.Conn, error) {
	c, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	return &c.Conn, nil
}
