package devmemtcp

import (
	"io"
	"net/netip"

	"hbmfs/transport/devmemtcp/internal/nic"
	"hbmfs/transport/devmemtcp/internal/receive"
)

// hostNIC is a NIC of this host.
type hostNIC struct{ *nic.NIC }

// openNIC takes queues of cfg's NIC.
func openNIC(cfg Config) (nicPort, error) {
	n, err := nic.Open(nic.Config{Name: cfg.NIC, Queues: cfg.Queues + cfg.LendQueues, StateDir: cfg.StateDir})
	if err != nil {
		return nil, err
	}
	return hostNIC{n}, nil
}

func (n hostNIC) Bind(dmabuf int, queues ...int) (receive.Binding, error) {
	b, err := n.NIC.Bind(dmabuf, queues...)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (n hostNIC) Steer(local, remote netip.AddrPort, queue int) (io.Closer, error) {
	r, err := n.NIC.Steer(local, remote, queue)
	if err != nil {
		return nil, err
	}
	return r, nil
}
