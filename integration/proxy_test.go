package integration

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"hbmfs/transport/tcp"
)

// fault is what a proxy does to the bytes that a target sends on its data
// connections.
type fault int

const (
	// stall holds everything back, until the proxy is healed.
	stall fault = iota + 1
	// trickle lets a byte through now and then, until the proxy is healed.
	trickle
	// cut ends one connection.
	cut
	// flip inverts a bit of one byte.
	flip
)

// trickleEvery is well within the time-out of a connection without progress.
const trickleEvery = 100 * time.Millisecond

// proxy stands between a mount and its target. Control connections pass
// untouched; data connections do until a fault is injected.
type proxy struct {
	addr   string
	target string

	mu     sync.Mutex // guards all below
	fault  fault      // 0: none
	after  int64      // bytes of all data connections to pass before it
	struck chan struct{}
	healed chan struct{}
}

// startProxy carries connections to target until the test ends.
func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{addr: l.Addr().String(), target: target}
	ctx, cancel := context.WithCancel(context.Background())
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.serve(ctx, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		p.heal()
		conns.Wait()
	})
	return p
}

// inject has f strike once the target has sent after more bytes on its data
// connections. The channel is closed when it strikes: bytes are then under way.
func (p *proxy) inject(f fault, after int64) (struck <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.after = f, after
	p.struck, p.healed = make(chan struct{}), make(chan struct{})
	return p.struck
}

// heal ends a fault, and lets go what it held back.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != 0 {
		p.fault = 0
		close(p.healed)
	}
}

func (p *proxy) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	target, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer target.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); target.Close() })()
	var magic [len(tcp.Magic)]byte
	if _, err := io.ReadFull(client, magic[:]); err != nil {
		return
	}
	if _, err := target.Write(magic[:]); err != nil {
		return
	}
	var up sync.WaitGroup
	defer up.Wait()
	up.Go(func() {
		io.Copy(target, client)
		target.Close()
	})
	defer client.Close() // ends up
	if magic != tcp.Magic {
		io.Copy(client, target)
		return
	}
	b := make([]byte, 64<<10)
	for ok := true; ok; {
		n, err := target.Read(b)
		ok = p.carry(client, b[:n]) && err == nil
	}
}

// carry passes on what the target sent on a data connection, or what a fault
// makes of it. It reports whether the connection goes on.
func (p *proxy) carry(client net.Conn, b []byte) bool {
	n, f, healed := p.take(len(b))
	if _, err := client.Write(b[:n]); err != nil {
		return false
	}
	switch b = b[n:]; f {
	case stall:
		<-healed
	case trickle:
		b = drip(client, b, healed)
	case cut:
		return false
	case flip:
		b[0] ^= 1
	}
	_, err := client.Write(b)
	return err == nil
}

// take says how many of n bytes to pass, and what happens to the rest.
func (p *proxy) take(n int) (pass int, f fault, healed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == 0 || p.after >= int64(n) {
		p.after -= int64(n)
		return n, 0, nil
	}
	pass, f, healed = int(p.after), p.fault, p.healed
	p.after = 0
	select {
	case <-p.struck:
	default:
		close(p.struck)
	}
	if f == cut || f == flip {
		p.fault = 0
	}
	return pass, f, healed
}

// drip writes b byte by byte, and returns what is left when healed is closed.
func drip(to io.Writer, b []byte, healed <-chan struct{}) []byte {
	tick := time.NewTicker(trickleEvery)
	defer tick.Stop()
	for len(b) > 0 {
		select {
		case <-healed:
			return b
		case <-tick.C:
		}
		if _, err := to.Write(b[:1]); err != nil {
			return b
		}
		b = b[1:]
	}
	return b
}
