package target

import (
	"net"
	"slices"

	"hbmfs/transport/rdma"
)

// serveRDMA listens at addr in RDMA's own port space, and tells mounts so. A
// target without it is none the worse: the log says why.
func (t *Target) serveRDMA(addr net.Addr) {
	tcpAddr, ok := addr.(*net.TCPAddr)
	if !ok {
		return
	}
	if t.cfg.TLS != nil && !t.cfg.DataPlaintext {
		t.cfg.Log.Info("rdma is not served", "why", "the target uses TLS, and RDMA carries payload in clear; allow that with --data-plaintext")
		return
	}
	if err := t.rdma.Listen(tcpAddr.AddrPort()); err != nil {
		t.cfg.Log.Info("rdma is not served", "why", err)
		return
	}
	t.cfg.Log.Info("rdma is served", "addr", addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.served, rdma.Name) {
		t.served = append(slices.Clone(t.served), rdma.Name)
	}
}

// transports are the data planes that mounts are told of.
func (t *Target) transports() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.served
}
