package devmemtcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/liveness"
)

// dialled is what a pair is made of.
type dialled struct {
	rx     *receiver
	queue  receive.Queue
	head   net.Conn
	ticket ticket
	data   *net.TCPConn
	rule   io.Closer
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

// open connects one pair. The NIC is taken once the target is known to be there,
// and that may take longer than its ticket is good. The error wraps
// [transport.ErrSession] if a side could not prove itself,
// [transport.ErrProtocol] if the peer speaks something else.
func (l *link) open(ctx context.Context) (*conn, error) {
	d := dialled{}
	if err := d.within(ctx, func(ctx context.Context) error { return l.greet(ctx, &d) }); err != nil {
		return nil, err
	}
	begin := time.Now()
	rx, err := l.owner.join()
	if err != nil {
		d.close()
		return nil, err
	}
	if time.Since(begin) > pairTimeout/4 {
		d.close()
		d = dialled{}
	}
	d.rx, d.queue = rx, rx.nextQueue()
	p, err := l.assemble(ctx, &d, fragmentsPerGather, &l.tokens)
	if err != nil {
		l.owner.leave(rx)
		return nil, err
	}
	c := newConn(l, rx, p)
	l.owner.enlist(c)
	return c, nil
}

// assemble connects a pair whose payload comes to d's queue, or leaves nothing. It
// has room for that many control messages, and held counts its tokens.
func (l *link) assemble(ctx context.Context, d *dialled, messages int, held *atomic.Int64) (*receive.Pair, error) {
	if d.head == nil {
		if err := d.within(ctx, func(ctx context.Context) error { return l.greet(ctx, d) }); err != nil {
			return nil, err
		}
	}
	if err := d.within(ctx, func(ctx context.Context) error { return l.pair(ctx, d) }); err != nil {
		return nil, err
	}
	tuneHead(d.head)
	s, err := l.owner.cfg.newSocket(*d)
	if err != nil {
		d.close()
		return nil, err
	}
	return receive.New(receive.Config{
		Session: l.Session, Queue: d.queue, Head: d.head, Data: s, Rule: d.rule,
		Messages: messages, Counters: &l.counters, Held: held,
	}), nil
}

// within does a step of a pair's making in liveness.Handshake, or leaves nothing of
// the pair.
func (d *dialled) within(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, liveness.Handshake)
	defer cancel()
	err := step(ctx)
	if err != nil {
		d.close()
	}
	return err
}

// interruptibly does what the head is read and written for: it is closed when ctx
// ends, which is then the reason.
func (d *dialled) interruptibly(ctx context.Context, do func() error) error {
	stop := context.AfterFunc(ctx, func() { d.head.Close() })
	err := do()
	if stop() {
		return err
	}
	return errors.Join(context.Cause(ctx), err)
}

// greet connects a head, proves it, and takes its ticket.
func (l *link) greet(ctx context.Context, d *dialled) (err error) {
	dialer := net.Dialer{KeepAliveConfig: liveness.KeepAlive}
	if d.head, err = dialer.DialContext(ctx, "tcp", l.Session.Addr); err != nil {
		return err
	}
	return d.interruptibly(ctx, func() error {
		if err := headShake.Authenticate(d.head, l.Session); err != nil {
			return fmt.Errorf("head connection: %w", err)
		}
		if _, err := io.ReadFull(d.head, d.ticket[:]); err != nil {
			return fmt.Errorf("ticket: %w", err)
		}
		return nil
	})
}

// pair connects the data connection that belongs to the head.
func (l *link) pair(ctx context.Context, d *dialled) error {
	return d.interruptibly(ctx, func() error {
		if err := l.dialData(ctx, d); err != nil {
			return fmt.Errorf("data connection: %w", err)
		}
		if _, err := d.data.Write(newGreeting(l.Session, d.ticket).append(nil)); err != nil {
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
	})
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
		if d.rule != nil { // of a socket that was given up for this one
			_ = d.rule.Close() // the NIC puts back what is left when it is closed
		}
		d.rule, err = d.rx.nic.Steer(local, remote, d.queue.Number)
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
func steeredSocket(d dialled) (receive.Socket, error) { return receive.NewKernelSocket(d.data) }
