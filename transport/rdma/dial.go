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
	"hbmfs/transport/rdma/internal/verbs"
)

// Limits of a connection's set-up.
const (
	dialTimeout    = 5 * time.Second
	resolveTimeout = 2 * time.Second
)

// refusedByPeer is the reason of a rejection that the peer's program made.
const refusedByPeer = 28

// dial opens one connection and proves the session on it: see [lanes.Config].
func (l *link) dial(ctx context.Context) (*lanes.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addrs, err := resolve(ctx, l.Session.Addr)
	for _, a := range addrs {
		c := newConn(l)
		if err = c.open(ctx, a); err == nil {
			return &c.Conn, nil
		}
		c.Retire(err)
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
	stop := onEnd(ctx, c.events.Interrupt)
	err = c.connect(to)
	stop()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && c.port != (port{}) {
		return c.port.unheard()
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	c.heed()
	c.released = onEnd(c.device.removed, func() { c.Kill(errRemoved) })
	stop = onEnd(ctx, c.cq.Interrupt)
	err = c.prove()
	stop()
	if err == nil && ctx.Err() == nil {
		return c.link.device.prepare(c.device)
	}
	return c.unproven(ctx, err)
}

// unproven says why a connection was set up and is of no use.
func (c *conn) unproven(ctx context.Context, err error) error {
	c.Mu.Lock()
	broken := c.Broken()
	c.Mu.Unlock()
	switch {
	case broken != nil:
		return broken
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, errUnanswered):
		return fmt.Errorf("%w: connected, but messages of %d bytes do not pass with an MTU of %d: check the MTU of all links between",
			transport.ErrConnLost, helloSize, c.mtu)
	}
	return errors.Join(err, ctx.Err())
}

// connect has the connection manager reach the target, and takes the queue pair
// up with what it answers.
func (c *conn) connect(to netip.AddrPort) error {
	if err := c.reach(to); err != nil {
		return err
	}
	through := newPort(c.id)
	if !through.active() {
		return through.down()
	}
	if n := parting.waiting.Load(); n >= maxPartings {
		return fmt.Errorf("%d connections have ended whose peers are yet to be told: see why the network link of RDMA device %s does not stay up",
			n, through.device)
	}
	mtu, err := c.build()
	if err != nil {
		return err
	}
	c.port = through
	r := connectRequest{mtu: uint16(mtu), session: c.link.Session.ID, nonce: newNonce()}
	if err := c.id.Connect(c.qp.Number(), appendConnect(nil, r, c.link.Session.Secret)); err != nil {
		return err
	}
	ev, err := c.expect(verbs.ConnectResponse)
	if err != nil {
		return err
	}
	a, err := parseAccept(ev.Private, r, c.link.Session.Secret)
	if err != nil {
		return err
	}
	if c.mtu = int(a.mtu); c.mtu > mtu || !validMTU(c.mtu) {
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
	c.port = port{} // the connection is over: closing it sends nothing
	switch {
	case ev.Kind == verbs.Rejected && ev.Status == refusedByPeer:
		return ev, parseReject(ev.Private)
	case ev.Kind == verbs.Rejected:
		return ev, fmt.Errorf("%w: refused (reason %d): nothing listens for RDMA there; start the target with RDMA", transport.ErrConnLost, ev.Status)
	case ev.Kind == verbs.DeviceRemoval:
		return ev, c.gone(ev)
	}
	return ev, fmt.Errorf("%w: %v while waiting for %v (status %d)", transport.ErrConnLost, ev.Kind, kind, ev.Status)
}

// build makes what the connection needs of its device, and returns the MTU of
// the device's port.
func (c *conn) build() (mtu int, err error) {
	name, number := c.id.Device()
	if c.device, err = c.link.device.acquire(name); err != nil {
		return 0, err
	}
	if mtu, err = portMTU(c.device.ctx, number); err != nil {
		return 0, err
	}
	if err := c.control.init(c.device.pd); err != nil {
		return 0, err
	}
	if c.cq, err = c.device.ctx.NewCQ(sendDepth + recvDepth); err != nil {
		return 0, err
	}
	c.qp, err = c.device.pd.NewQP(c.cq, c.cq, verbs.QPConfig{SendDepth: sendDepth, RecvDepth: recvDepth})
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

var errUnanswered = errors.New("no acknowledgement")

// prove sends a message as large as the MTU allows, and returns once the target
// has seen it and sent one back.
func (c *conn) prove() error {
	message := appendHello(c.control.hello(), hello{
		depth: depth, mailbox: c.control.in.Addr, proof: c.control.in.Addr + proofAt, rkey: c.control.in.RKey,
	})
	if err := c.post([]verbs.Work{c.control.send(workID(workHello, 0), message)}, nil); err != nil {
		return err
	}
	for owes := owesRecord | owesSend; owes != 0; {
		n, err := c.poll()
		if err != nil {
			return err
		}
		for i := range c.wc[:n] {
			paid, err := c.proving(&c.wc[i])
			if err != nil {
				return err
			}
			if owes&paid == 0 {
				return fmt.Errorf("%w: the set-up ended twice", transport.ErrProtocol)
			}
			owes &^= paid
		}
	}
	return nil
}

// proving checks a completion of the set-up, and says what is no longer owed.
func (c *conn) proving(w *verbs.Completion) (owed, error) {
	kind := work(w.ID >> 8)
	switch {
	case w.Status == verbs.StatusRetryExceeded:
		return 0, errUnanswered
	case w.Status != verbs.StatusOK:
		return 0, fmt.Errorf("%w: %s: %v", transport.ErrConnLost, workNames[kind], w.Status)
	case kind == workHello:
		return owesSend, nil
	}
	rec, err := parseRecord(c.control.mailbox(depth))
	if err != nil {
		return 0, err
	}
	if done := newTag(depth, 0); w.Op != verbs.OpRecvWithImm || tag(w.Imm) != done || rec != (record{tag: done}) {
		return 0, fmt.Errorf("%w: the set-up ended with %+v", transport.ErrProtocol, rec)
	}
	return owesRecord, checkPattern(c.control.proof())
}
