package target

import (
	"net"
	"slices"

	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/rdma"
)

// serveDirect serves the data planes that write into mounts' device memory, and
// tells mounts so. They can't encrypt. A target without them is none the worse:
// the log says why.
func (t *Target) serveDirect(addr net.Addr) {
	tcpAddr, ok := addr.(*net.TCPAddr)
	if !ok {
		return
	}
	if t.cfg.TLS != nil && !t.cfg.DataPlaintext {
		t.cfg.Log.Info("rdma and devmem-tcp are not served",
			"why", "the target uses TLS, and they carry payload in clear; allow that with --data-plaintext")
		return
	}
	t.tell(devmemtcp.Name)
	if err := t.rdma.Listen(tcpAddr.AddrPort()); err != nil {
		t.cfg.Log.Info("rdma is not served", "why", err)
		return
	}
	t.cfg.Log.Info("rdma is served", "addr", addr)
	t.tell(rdma.Name)
}

// tell adds a data plane to those that mounts are told of.
func (t *Target) tell(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.served, name) {
		t.served = append(slices.Clone(t.served), name)
	}
}

// transports are the data planes that mounts are told of.
func (t *Target) transports() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.served
}
