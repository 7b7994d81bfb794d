package devmemtcp

import (
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/loans"
	"hbmfs/transport/devmemtcp/internal/receive"
)

// PoolMemory is device memory that NICs write payload to. It has a dma-buf, of
// which it is all. It is the transport's alone: no program may map it, since it
// holds bytes of every user. Where the CPU can't read it, checksums are not
// checked, and plain reads can't be carried.
type PoolMemory interface {
	transport.Memory
	// Close gives it back. It is called once nothing writes to it any more.
	Close() error
}

// PoolSize is how large a receive pool must be so that neither NIC nor sockets
// ever wait for memory, in bytes.
type PoolSize = receive.PoolSize

// NewPoolSize returns what queues of ring descriptors each need, for packets of
// mtu bytes and pairs of connections.
func NewPoolSize(queues, ring, mtu, pairs int) PoolSize {
	return receive.NewPoolSize(queues, ring, mtu, pairs, gathersPerConn*fragmentsPerGather)
}

// NewLoanSize returns how large the memory of one user is that is lent, with
// queues of ring descriptors, for packets of mtu bytes.
func NewLoanSize(ring, mtu int) PoolSize { return loans.Size(ring, mtu) }
