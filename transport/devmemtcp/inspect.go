package devmemtcp

import (
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/nic"
)

// NIC is what [Inspect] finds out about a network interface.
type NIC = nic.Report

// Need is one thing that this transport needs of a NIC.
type Need = nic.Need

// Inspect reports on every NIC of this network namespace that does DMA. It
// changes nothing: a binding of mem's dma-buf is tried only on a NIC that is set
// up for it, on a queue that nobody else's packets come to. A nil mem says not to.
func Inspect(mem transport.Memory) ([]NIC, error) {
	fd := -1
	if mem != nil {
		if own, off, ok := mem.DMABuf(); ok && off == 0 {
			fd = own
		}
	}
	return nic.Inspect(fd)
}

// Restore puts back what transports of processes that are gone left changed on
// NICs of this network namespace, and returns the names of those NICs, and which
// others are in use, by whom. stateDir is [Config.StateDir].
func Restore(stateDir string) (restored, busy []string, err error) { return nic.Restore(stateDir) }
