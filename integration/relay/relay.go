// Package relay carries TCP connections between mounts and a target, and can
// hold back all that they say, as a network does that fails without a word.
//
// It looks at no byte. Locking: one lock, held to hold back.
package relay

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Relay is a listener on loopback, in the place of a target.
type Relay struct {
	target   string
	listener net.Listener
	cancel   context.CancelFunc
	conns    sync.WaitGroup
	way      sync.RWMutex
}

// Start carries what connects to Addr to target, until Close.
func Start(target string) (*Relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Relay{target: target, listener: l, cancel: cancel}
	r.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.conns.Go(func() { r.serve(ctx, c) })
		}
	})
	return r, nil
}

// Addr is host:port of the listener.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Close ends all connections. Nothing may be held back.
func (r *Relay) Close() {
	r.listener.Close()
	r.cancel()
	r.conns.Wait()
}

// Cut holds everything back, both ways, until the returned function is called.
func (r *Relay) Cut() (heal func()) {
	r.way.Lock()
	return sync.OnceFunc(r.way.Unlock)
}

func (r *Relay) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	target, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer target.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); target.Close() })()
	var up sync.WaitGroup
	up.Go(func() { r.pass(target, client) })
	r.pass(client, target)
	up.Wait()
}

func (r *Relay) pass(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		r.way.RLock()
		_, failed := to.Write(b[:n])
		r.way.RUnlock()
		if err != nil || failed != nil {
			return
		}
	}
}
