package devmemtcp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"

	"hbmfs/transport"
)

// dialled is what a pair is made of.
type dialled struct {
	rx    *receiver
	queue int
	head  net.Conn
	data  *net.TCPConn
	rule  nicRule
}

func (d *dialled) close() {
	if d.head != nil {
		d.head.Close()
	}
	if d.data != nil {
		d.data.Close()
	}
	if d.rule != nil {
		_ = d.rule.Close() // the error of what failed first is the one to tell
	}
}

// open connects one pair. The error wraps [transport.ErrSession] if a side could
// not prove itself, [transport.ErrProtocol] if the peer speaks something else.
func (l *link) open(ctx context.Context) (*conn, error) {
	rx, err := l.owner.join()
	if err != nil {
		return nil, err
	}
	d := dialled{rx: rx, queue: rx.nextQueue()}
	s, err := l.assemble(ctx, &d)
	if err != nil {
		l.owner.leave(rx)
		return nil, err
	}
	return newConn(l, d.rx, d.head, s, d.rule), nil
}

// assemble connects a pair whose payload comes to d's queue, or leaves nothing.
func (l *link) assemble(ctx context.Context, d *dialled) (socket, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	s, err := l.connect(ctx, d)
	if err != nil {
		d.close()
		return nil, err
	}
	return s, nil
}

func (l *link) connect(ctx context.Context, d *dialled) (s socket, err error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	if d.head, err = dialer.DialContext(ctx, "tcp", l.Session.Addr); err != nil {
		return nil, err
	}
	// One way to interrupt all that follows on the head.
	stop := context.AfterFunc(ctx, func() { d.head.Close() })
	err = l.prove(ctx, d)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	tuneHead(d.head)
	return l.owner.cfg.newSocket(*d)
}

// prove does the handshake of the head, and pairs it.
func (l *link) prove(ctx context.Context, d *dialled) (err error) {
	if err := headShake.Authenticate(d.head, l.Session); err != nil {
		return fmt.Errorf("head connection: %w", err)
	}
	var t ticket
	if _, err := io.ReadFull(d.head, t[:]); err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	if err := l.dialData(ctx, d); err != nil {
		return fmt.Errorf("data connection: %w", err)
	}
	if _, err := d.data.Write(newGreeting(l.Session, t).append(nil)); err != nil {
		return fmt.Errorf("data connection: %w", err)
	}
	var b [pairingSize]byte
	if _, err := io.ReadFull(d.head, b[:]); err != nil {
		return fmt.Errorf("pairing: %w", err)
	}
	if err := parsePairing(&b); err != nil {
		return fmt.Errorf("the target refused the data connection: %w", err)
	}
	return nil
}

// dialData connects to where the head is connected, by the same address of this
// host.
func (l *link) dialData(ctx context.Context, d *dialled) (err error) {
	local, remote := addrPort(d.head.LocalAddr()), addrPort(d.head.RemoteAddr())
	if !local.IsValid() || !remote.IsValid() {
		return fmt.Errorf("%w: %v is no TCP address", transport.ErrUnavailable, d.head.RemoteAddr())
	}
	segment := pageSegment(d.rx.nic.MTU(), remote.Addr().Is6())
	d.data, err = dialData(ctx, local.Addr(), remote, segment, func(local netip.AddrPort) (err error) {
		d.rule, err = d.rx.nic.Steer(local, remote, d.queue)
		return err
	})
	return err
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// steeredSocket is the data connection as what the NIC makes of it.
func steeredSocket(d dialled) (socket, error) { return newKernelSocket(d.data) }
