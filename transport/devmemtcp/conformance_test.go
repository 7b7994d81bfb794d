package devmemtcp

import (
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// TestConformance drives the transport over ordinary connections, with a NIC
// that is made up.
func TestConformance(t *testing.T) {
	runSuite(t, loopback, func(t *testing.T) transport.Transport { return New(newLoop(t).config()) })
}

// TestConformanceNIC does over a NIC, which one transport at a time can use.
func TestConformanceNIC(t *testing.T) {
	n := needNIC(t)
	tr := New(n.config(t))
	runSuite(t, n.listen, func(*testing.T) transport.Transport { return tr })
}

func runSuite(t *testing.T, listen listener, open func(*testing.T) transport.Transport) {
	transporttest.Run(t, transporttest.Harness{
		Start: func(t *testing.T, source transport.Source) (transport.Transport, transport.Session) {
			return open(t), startTarget(t, source, listen).session
		},
		Faulty: func(t *testing.T, source transport.Source, fault transporttest.Fault) (transport.Transport, transport.Session, func()) {
			s := startTarget(t, source, loopback).session
			p, addr := startProxy(t, s.Addr, fault, listen)
			s.Addr = addr
			return open(t), s, p.heal
		},
		Checksums: true,
	})
}
