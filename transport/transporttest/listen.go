package transporttest

import (
	"net"
	"sync"
	"testing"
)

// Listen calls serve with each connection to the loopback address that it
// returns, until the test ends.
func Listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return Accept(t, ln, serve)
}

// Accept calls serve with each connection to ln, until the test ends, and
// returns ln's address.
func Accept(t testing.TB, ln net.Listener, serve func(net.Conn)) string {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

// Cutter lets a test cut the connections of a target.
type Cutter struct {
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

// Wrap returns c, which Cut ends.
func (k *Cutter) Wrap(c net.Conn) net.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns = append(k.conns, c)
	return c
}

// Cut ends the connections that were wrapped so far.
func (k *Cutter) Cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		c.Close()
	}
	k.conns = nil
}
