package devmemtcp

import (
	"io"
	"net"
	"testing"
	"time"

	"hbmfs/transport"
)

// TestLoanSlowNetwork: a payload that takes longer than the session's time-out is
// lent, while some of it comes.
func TestLoanSlowNetwork(t *testing.T) {
	var target string
	slow := func(t testing.TB, serve func(net.Conn)) string {
		target = loopback(t, serve)
		return loopback(t, func(c net.Conn) { relaySlowly(c, target) })
	}
	b := newLendBenchAt(t, 1, slow, func(s *transport.Session) { s.Timeout = 2 * time.Second })
	began := time.Now()
	b.lent(alice, 256<<10).Return()
	if took := time.Since(began); took < 2500*time.Millisecond {
		t.Errorf("it took only %v", took)
	}
	if n := b.link.Stats().Lost; n != 0 {
		t.Errorf("%d connections were given up", n)
	}
}

// relaySlowly carries a connection to a target, and payload a KiB at a time.
func relaySlowly(c net.Conn, target string) {
	defer c.Close()
	c, magic := sniff(c)
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(to, c)
		to.Close()
	}()
	if magic != DataMagic {
		io.Copy(c, to)
		return
	}
	for err == nil {
		if _, err = io.CopyN(c, to, 1<<10); err == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}
