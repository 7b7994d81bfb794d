package tcp

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// Name is what --transport calls this transport.
const Name = "tcp"

// MaxConnections is the most that a session may ask for.
const MaxConnections = 64

// defaultTimeout is for sessions that name none.
const defaultTimeout = 30 * time.Second

type tcp struct{ encrypted bool }

// New returns the transport. encrypted says whether its sessions come with TLS,
// which is what [transport.Plan] then promises; [transport.Transport.Dial]
// refuses a session that doesn't.
func New(encrypted bool) transport.Transport { return tcp{encrypted} }

func (tcp) Name() string { return Name }

// Plan accepts all memory: what the CPU can't touch is filled by CopyIn.
func (t tcp) Plan(mem transport.Memory) (transport.Plan, error) {
	if landing.Revoked(mem) {
		return transport.Plan{}, fmt.Errorf("%w: %w", transport.ErrUnavailable, transport.ErrRevoked)
	}
	return transport.Plan{Path: transport.PathStaged, MaxLen: MaxLen, Align: 1, Encrypted: t.encrypted}, nil
}

// Dial connects as often as the session says, and fails if one connection does.
// Besides the errors of the interface, it returns one wrapping
// [transport.ErrProtocol] if what answers is no target of this version.
func (t tcp) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	if t.encrypted && s.TLS == nil {
		return nil, fmt.Errorf("tcp %s: %w: the plan was encrypted, and the session has no TLS", s.Addr, transport.ErrSession)
	}
	if s.Connections < 1 || s.Connections > MaxConnections {
		return nil, fmt.Errorf("tcp %s: %d connections: must be 1 to %d", s.Addr, s.Connections, MaxConnections)
	}
	if s.Timeout <= 0 {
		s.Timeout = defaultTimeout
	}
	l := newLink(s)
	if err := l.connect(ctx); err != nil {
		return nil, err
	}
	l.start()
	return l, nil
}

// connect opens all connections, or none.
func (l *link) connect(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range l.lanes {
		g.Go(func() error {
			c, err := l.dial(ctx)
			if err == nil {
				l.lanes[i].conn.Store(c)
			}
			return err
		})
	}
	err := g.Wait()
	if err != nil {
		for i := range l.lanes {
			if c := l.lanes[i].conn.Load(); c != nil {
				c.raw.Close()
			}
		}
	}
	return err
}
