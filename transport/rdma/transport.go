package rdma

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// Name is what --transport calls this transport.
const Name = wire.Name

// Built is nil, or says why this build has no RDMA, and the remedy.
func Built() error { return verbs.Built() }

type rdma struct{}

// New returns the transport. Nothing is loaded before Plan or Dial.
func New() transport.Transport { return rdma{} }

func (rdma) Name() string { return Name }

// Plan finds a device of this host whose port is up, and registers mem with it.
// Memory that can't be registered is planned as staged.
func (rdma) Plan(mem transport.Memory) (transport.Plan, error) {
	if landing.Revoked(mem) {
		return transport.Plan{}, fmt.Errorf("%w: %w", transport.ErrUnavailable, transport.ErrRevoked)
	}
	ctx, err := activeDevice()
	if err != nil {
		return transport.Plan{}, fmt.Errorf("rdma: %w: %w", transport.ErrUnavailable, err)
	}
	defer ctx.Close()
	if registrable(ctx, mem) {
		return direct, nil
	}
	return staged, nil
}

// Plans for memory that is registered with the device, and that can't be.
var (
	direct = transport.Plan{Path: uapi.PathRDMA, MaxLen: wire.MaxLen, Align: 1, Batch: wire.Batch}
	staged = transport.Plan{Path: uapi.PathStaged, Why: uapi.WhyNotRegistered, MaxLen: wire.MaxLen, Align: 1, Batch: wire.Batch}
)

// activeDevice opens the first device whose port is up.
func activeDevice() (*verbs.Context, error) {
	if err := verbs.Load(); err != nil {
		return nil, err
	}
	names, err := verbs.Devices()
	if err != nil {
		return nil, err
	}
	failed := errors.New("no RDMA device on this host: load the NIC's driver, or add one with rdma link add")
	for _, name := range names {
		ctx, err := openActive(name)
		if err == nil {
			return ctx, nil
		}
		failed = err
	}
	return nil, failed
}

func openActive(name string) (*verbs.Context, error) {
	ctx, err := verbs.Open(name)
	if err != nil {
		return nil, err
	}
	if _, err := (hca.Port{Device: name, Number: 1}).MTU(ctx); err != nil {
		ctx.Close()
		return nil, err
	}
	return ctx, nil
}

// registrable reports whether ctx's device takes mem, by doing it.
func registrable(ctx *verbs.Context, mem transport.Memory) bool {
	pd, err := ctx.AllocPD()
	if err != nil {
		return false
	}
	defer pd.Close()
	mr, _, err := register(pd, mem)
	return err == nil && mr.Close() == nil
}

// Dial connects as often as the session says, and fails if one connection does.
// The target listens on the RDMA port of the same number as its TCP port.
// Besides the errors of the interface, it returns one wrapping
// [transport.ErrProtocol] if what answers is no target of this version, and
// [transport.ErrUnavailable] if this host can't use RDMA.
func (rdma) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	if err := verbs.Load(); err != nil {
		return nil, fmt.Errorf("rdma %s: %w: %w", s.Addr, transport.ErrUnavailable, err)
	}
	l, err := newLink(s)
	if err != nil {
		return nil, err
	}
	if err := l.Connect(ctx); err != nil {
		return nil, errors.Join(err, l.free())
	}
	return l, nil
}
