package devmemtcp

import (
	"os"

	"hbmfs/transport"
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
type PoolSize struct {
	// Rings: each receive descriptor of each queue holds the pages of a packet.
	Rings int64 `json:"rings"`
	// Windows: what each connection's receive buffer holds, with the kernel's
	// overhead for pages that are not full. It is the bandwidth-delay product
	// that a connection can use.
	Windows int64 `json:"windows"`
	// Gathers: what each connection has on its way from the pool to where it
	// belongs.
	Gathers int64 `json:"gathers"`
	// Lent: what may be lent at a time.
	Lent int64 `json:"lent"`
}

// NewPoolSize returns what queues of ring descriptors each need, for packets of
// mtu bytes and pairs of connections.
func NewPoolSize(queues, ring, mtu, pairs int) PoolSize {
	page := int64(os.Getpagesize())
	return PoolSize{
		Rings:   int64(queues) * ringSize(ring, mtu),
		Windows: int64(pairs) * 2 * receiveBuffer,
		Gathers: int64(pairs) * gathersPerConn * fragmentsPerGather * page,
	}
}

// Total is the sum.
func (s PoolSize) Total() int64 { return s.Rings + s.Windows + s.Gathers + s.Lent }

// loanBudget is what one user may have borrowed at a time, in bytes of pages: a
// fragment takes all of the page that it lies in.
const loanBudget = 32 << 20

// NewLoanSize returns how large the memory of one user is that is lent, with
// queues of ring descriptors, for packets of mtu bytes. Rings, windows and what is
// being received come on top of what may be lent: so who keeps loans starves
// neither the NIC nor the sockets.
func NewLoanSize(ring, mtu int) PoolSize {
	return PoolSize{
		Rings:   ringSize(ring, mtu),
		Windows: lendPairs * 2 * receiveBuffer,
		Gathers: lendPairs * lendControls * int64(os.Getpagesize()),
		Lent:    loanBudget,
	}
}

// ringSize is what a queue's driver keeps ready for packets of mtu bytes, one for
// each descriptor, in bytes.
func ringSize(ring, mtu int) int64 {
	page := int64(os.Getpagesize())
	return int64(ring) * ((int64(mtu) + page - 1) / page) * page
}
