package server

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// fakePlane takes connections of its own, if it can, in clear.
type fakePlane struct {
	name   string
	err    error
	addr   netip.AddrPort // where it listens
	closed int
}

func (p *fakePlane) Name() string                    { return p.name }
func (p *fakePlane) Encrypts() bool                  { return false }
func (p *fakePlane) Greetings() []transport.Greeting { return nil }
func (p *fakePlane) Close() error                    { p.closed++; return nil }

func (p *fakePlane) Listen(addr netip.AddrPort) error {
	p.addr = addr
	return p.err
}

func (p *fakePlane) create(transport.Sessions, limits.Data, *slog.Logger) transport.Plane { return p }

// TestPlanes: mounts are told of the planes that can be served; with TLS, of those
// in clear only where that is allowed. All are closed.
func TestPlanes(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 7}
	for _, c := range []struct {
		cfg  Config
		want []string
	}{
		{Config{}, []string{"fake", "tcp", "devmem-tcp"}},
		{Config{TLS: new(tls.Config)}, []string{"tcp"}},
		{Config{TLS: new(tls.Config), DataPlaintext: true}, []string{"fake", "tcp", "devmem-tcp"}},
	} {
		fake, unable := &fakePlane{name: "fake"}, &fakePlane{name: "unable", err: errors.New("no device")}
		c.cfg.Planes = []transport.NewPlane{fake.create, unable.create}
		target := newRigWith(t, c.cfg).target
		target.listen(addr)
		served := slices.Contains(c.want, "fake")
		if got := target.transports(); !slices.Equal(got, c.want) || served != (fake.addr == addr.AddrPort()) {
			t.Errorf("%+v: mounts are told of %v, and the fake listens at %v", c.cfg, got, fake.addr)
		}
		target.Close()
		if fake.closed != 1 || unable.closed != 1 {
			t.Errorf("planes are closed %d and %d times", fake.closed, unable.closed)
		}
	}
}
