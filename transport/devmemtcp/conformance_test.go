package devmemtcp

import (
	"net"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// TestConformance drives the transport over ordinary connections, with a NIC
// that is made up.
func TestConformance(t *testing.T) {
	open := func(t *testing.T) transport.Transport { return opened(t, newLoop(t).config()) }
	lends := func(t *testing.T) transport.Transport {
		l := newLoop(t)
		c := l.config()
		c.LendQueues, c.Reserve = 1, l.reserve
		return opened(t, c)
	}
	h := harness(loopback, open, lends)
	h.Counted = func(t *testing.T, source transport.Source) (transport.Transport, transport.Session, func() int) {
		var segments transporttest.Segments
		s := startTarget(t, source, func(t testing.TB, serve func(net.Conn)) string {
			return loopback(t, func(c net.Conn) { serve(segments.Wrap(c)) })
		}).session
		return open(t), s, func() int { return segments.Count(t) }
	}
	transporttest.Run(t, h)
}

// TestConformanceNIC does over a NIC, which one transport at a time can use.
func TestConformanceNIC(t *testing.T) {
	n := needNIC(t)
	c := n.config(t)
	c.LendQueues, c.Reserve = 1, reserveUDMABuf
	tr := opened(t, c)
	open := func(*testing.T) transport.Transport { return tr }
	transporttest.Run(t, harness(n.listen, open, open))
}

func harness(listen listener, open, lends func(*testing.T) transport.Transport) transporttest.Harness {
	return transporttest.Harness{
		Start: func(t *testing.T, source transport.Source) (transport.Transport, transport.Session) {
			return open(t), startTarget(t, source, listen).session
		},
		Faulty: func(t *testing.T, source transport.Source, fault transporttest.Fault) (transport.Transport, transport.Session, func()) {
			s := startTarget(t, source, loopback).session
			p, addr := startProxy(t, s.Addr, fault, listen)
			s.Addr = addr
			return open(t), s, p.heal
		},
		Lend: func(t *testing.T, source transport.Source) (transport.Transport, transport.Session) {
			s := startTarget(t, source, listen).session
			s.Checksums = true
			return lends(t), s
		},
		Checksums: true,
	}
}
