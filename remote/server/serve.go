package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Serve serves control and data connections from l, which it closes, until ctx
// ends or the target is closed; then it returns nil. Control connections stay
// until Close. So do those that a data plane takes on its own at l's address.
//
// Without TLS and without Config.Insecure it refuses to listen on anything but
// loopback.
func (t *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if err := t.checkListener(l.Addr()); err != nil {
		return err
	}
	t.listen(l.Addr())
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	greeting := strangers{limit: t.bounds.greeting}
	for {
		conn, err := t.accept(ctx, l)
		if conn == nil {
			return err
		}
		known := greeting.add(conn)
		if known == nil {
			conn.Close()
			continue
		}
		conns.Go(func() { t.greet(ctx, conn, known) })
	}
}

// acceptPause is how long to leave a process alone that is out of descriptors.
const acceptPause = 50 * time.Millisecond

// accept returns nil, without an error, when ctx has ended.
func (t *Server) accept(ctx context.Context, l net.Listener) (net.Conn, error) {
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
		t.watchDescriptors(err)
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

func (t *Server) checkListener(addr net.Addr) error {
	tcpAddr, ok := addr.(*net.TCPAddr)
	if t.cfg.TLS != nil || t.cfg.Insecure || !ok || tcpAddr.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("refusing to listen on %s without TLS: whoever can reach it could read the exports. Give --tls-cert, --tls-key and --tls-ca, or --insecure if the network is trusted", addr)
}
