package tcp

import (
	"context"
	"fmt"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
)

// Name is what --transport calls this transport.
const Name = "tcp"

// MaxConnections is the most that a session may ask for.
const MaxConnections = lanes.MaxConnections

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
	return plan(t.encrypted), nil
}

func plan(encrypted bool) transport.Plan {
	return transport.Plan{Path: uapi.PathStaged, MaxLen: MaxLen, Align: 1, Batch: lanes.Batch, Encrypted: encrypted}
}

// Dial connects as often as the session says, and fails if one connection does.
// Besides the errors of the interface, it returns one wrapping
// [transport.ErrProtocol] if what answers is no target of this version.
func (t tcp) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	if t.encrypted && s.TLS == nil {
		return nil, fmt.Errorf("tcp %s: %w: the plan was encrypted, and the session has no TLS", s.Addr, transport.ErrSession)
	}
	l := newLink(s)
	if err := l.Connect(ctx); err != nil {
		return nil, err
	}
	return l, nil
}
