package rdma

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// resolveTimeout bounds each step of finding the target's device and route.
const resolveTimeout = 2 * time.Second

// maxDeferred is how many connections may have to tell their peers that they
// ended, before a client dials no more. A target counts them as connections.
const maxDeferred = 1024

// refusedByPeer is the reason of a rejection that the peer's program made.
const refusedByPeer = 28

// dial opens one connection and proves the session on it: see [lanes.Config].
func (l *link) dial(ctx context.Context) (*lanes.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, wire.SetUpTimeout)
	defer cancel()
	addrs, err := resolve(ctx, l.Session.Addr)
	for _, a := range addrs {
		c := newConn(l)
		if err = c.open(ctx, a); err == nil {
			return &c.Conn, nil
		}
		c.End(err)
		if errors.Is(err, transport.ErrSession) || errors.Is(err, transport.ErrProtocol) {
			break
		}
	}
	return nil, err
}

// resolve returns the addresses of host:port.
func resolve(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return addrs, nil
}

// open brings the connection up. On an error, retire closes what was reached.
func (c *conn) open(ctx context.Context, to netip.AddrPort) (err error) {
	if c.events, err = verbs.NewEvents(); err != nil {
		return err
	}
	stop := hca.OnEnd(ctx, c.events.Interrupt)
	err = c.connect(to)
	stop()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && c.port != (hca.Port{}) {
		return c.port.NoAnswer()
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	c.heed()
	c.released = hca.OnEnd(c.device.Removed, func() { c.Kill(hca.ErrRemoved) })
	stop = hca.OnEnd(ctx, c.cq.Interrupt)
	err = c.prove()
	stop()
	if err == nil && ctx.Err() == nil {
		return c.link.device.prepare(c.device)
	}
	return c.unproven(ctx, err)
}

// unproven says why a connection was set up and is of no use.
func (c *conn) unproven(ctx context.Context, err error) error {
	broken := c.Broken()
	switch {
	case broken != nil:
		return broken
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, errUnanswered):
		return fmt.Errorf("%w: connected, but messages of %d bytes do not pass with an MTU of %d: check the MTU of all links between",
			transport.ErrConnLost, wire.HelloSize, c.mtu)
	}
	return errors.Join(err, ctx.Err())
}

// connect has the connection manager reach the target, and takes the queue pair
// up with what it answers.
func (c *conn) connect(to netip.AddrPort) error {
	if err := c.reach(to); err != nil {
		return err
	}
	through := hca.NewPort(c.id)
	if !through.Active() {
		return through.Down()
	}
	if n := hca.Disconnects.Waiting(); n >= maxDeferred {
		return fmt.Errorf("%d connections have ended whose peers are yet to be told: see why the network link of RDMA device %s does not stay up",
			n, through.Device)
	}
	mtu, err := c.build(through)
	if err != nil {
		return err
	}
	c.port = through
	r := wire.ConnectRequest{MTU: uint16(mtu), Session: c.link.Session.ID, Nonce: wire.NewNonce()}
	if err := c.id.Connect(c.qp.Number(), wire.AppendConnect(nil, r, c.link.Session.Secret)); err != nil {
		return err
	}
	ev, err := c.expect(verbs.ConnectResponse)
	if err != nil {
		return err
	}
	agreed, err := wire.ParseAccept(ev.Private, r, c.link.Session.Secret)
	if err != nil {
		return err
	}
	if c.mtu = int(agreed); c.mtu > mtu || !hca.ValidMTU(c.mtu) {
		return fmt.Errorf("%w: the target wants an MTU of %d, this side has %d", transport.ErrProtocol, c.mtu, mtu)
	}
	return c.raise()
}

// reach finds the device and the route to the target.
func (c *conn) reach(to netip.AddrPort) (err error) {
	if c.id, err = c.events.NewID(); err != nil {
		return err
	}
	err = c.id.ResolveAddr(to, resolveTimeout)
	if err == nil {
		_, err = c.expect(verbs.AddrResolved)
	}
	if err != nil {
		return fmt.Errorf("no RDMA device has a route to %v: bring its network link up, or set an address or a route: %w", to, err)
	}
	if err := c.id.ResolveRoute(resolveTimeout); err != nil {
		return err
	}
	_, err = c.expect(verbs.RouteResolved)
	return err
}

// expect waits for the next event, which must be of kind.
func (c *conn) expect(kind verbs.EventKind) (verbs.Event, error) {
	ev, err := c.events.Next()
	switch {
	case err != nil:
		return ev, err
	case ev.Kind == kind:
		return ev, nil
	}
	c.port = hca.Port{} // the connection is over: closing it sends nothing
	switch {
	case ev.Kind == verbs.Rejected && ev.Status == refusedByPeer:
		return ev, wire.ParseReject(ev.Private)
	case ev.Kind == verbs.Rejected:
		return ev, fmt.Errorf("%w: refused (reason %d): nothing listens for RDMA there; start the target with RDMA", transport.ErrConnLost, ev.Status)
	case ev.Kind == verbs.DeviceRemoval:
		return ev, c.gone(ev)
	}
	return ev, fmt.Errorf("%w: %v while waiting for %v (status %d)", transport.ErrConnLost, ev.Kind, kind, ev.Status)
}

// build makes what the connection needs of its device, and returns the MTU of
// the port that leads to the target.
func (c *conn) build(through hca.Port) (mtu int, err error) {
	if c.device, err = c.link.device.acquire(through.Device); err != nil {
		return 0, err
	}
	if mtu, err = through.MTU(c.device.Ctx); err != nil {
		return 0, err
	}
	if err := c.control.init(c.device.PD); err != nil {
		return 0, err
	}
	if c.cq, err = c.device.Ctx.NewCQ(sendDepth + recvDepth); err != nil {
		return 0, err
	}
	c.qp, err = c.device.PD.NewQP(c.cq, c.cq, verbs.QPConfig{SendDepth: sendDepth, RecvDepth: recvDepth})
	if err != nil {
		return 0, err
	}
	return mtu, nil
}

// raise takes the queue pair to where it sends. It has a receive for the record
// that ends the set-up, and the one that is always posted.
func (c *conn) raise() error {
	if err := c.id.Move(c.qp, verbs.Init, c.mtu); err != nil {
		return err
	}
	c.outstanding.Add(2)
	if err := c.qp.PostRecv(c.recvs[:2]); err != nil {
		return err
	}
	if err := c.id.Move(c.qp, verbs.ReadyToReceive, c.mtu); err != nil {
		return err
	}
	if err := c.id.Move(c.qp, verbs.ReadyToSend, c.mtu); err != nil {
		return err
	}
	return c.id.Establish()
}
