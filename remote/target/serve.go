package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// maxGreeting bounds how many connections have not said yet what they are, or,
// for those that carry data, not proved that they may. The oldest makes room.
const maxGreeting = 256

// greetings are such connections, oldest first.
type greetings struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (g *greetings) add(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) == maxGreeting {
		g.conns[0].Close()
		g.conns = slices.Delete(g.conns, 0, 1)
	}
	g.conns = append(g.conns, conn)
}

func (g *greetings) remove(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = slices.DeleteFunc(g.conns, func(c net.Conn) bool { return c == conn })
}

// Serve serves control and data connections from l, which it closes, until ctx
// ends or the target is closed; then it returns nil. Control connections stay
// until Close. So do RDMA connections, which it takes at l's address where the
// host has an RDMA device, unless the target's TLS forbids payload in clear.
//
// Without TLS and without Config.Insecure it refuses to listen on anything but
// loopback.
func (t *Target) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if err := t.checkListener(l.Addr()); err != nil {
		return err
	}
	t.serveDirect(l.Addr())
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var greeting greetings
	for {
		conn, err := accept(ctx, l)
		if conn == nil {
			return err
		}
		greeting.add(conn)
		conns.Go(func() { t.greet(ctx, conn, func() { greeting.remove(conn) }) })
	}
}

// acceptPause is how long to leave a process alone that is out of descriptors.
const acceptPause = 50 * time.Millisecond

// accept returns nil, without an error, when ctx has ended.
func accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, nil
		case !isTemporary(err):
			return nil, fmt.Errorf("accepting connections: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(acceptPause):
		}
	}
}

func isTemporary(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

func (t *Target) checkListener(addr net.Addr) error {
	tcpAddr, ok := addr.(*net.TCPAddr)
	if t.cfg.TLS != nil || t.cfg.Insecure || !ok || tcpAddr.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("refusing to listen on %s without TLS: whoever can reach it could read the exports. Give --tls-cert, --tls-key and --tls-ca, or --insecure if the network is trusted", addr)
}
