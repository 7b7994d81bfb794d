package receive

import "os"

// Buffer is SO_RCVBUFFORCE of a data connection, in bytes: what may lie in the pool
// without having been asked for by recvmsg. The kernel doubles it for its own
// overhead. Four connections carry 10 GB/s over a round trip of 200 us with it. Who
// may not exceed net.core.rmem_max is better off with the kernel's own tuning.
const Buffer = 1 << 20

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
// mtu bytes, and pairs of connections with that many fragments under way each.
func NewPoolSize(queues, ring, mtu, pairs, fragments int) PoolSize {
	page := int64(os.Getpagesize())
	packet := (int64(mtu) + page - 1) / page * page
	return PoolSize{
		Rings:   int64(queues) * int64(ring) * packet,
		Windows: int64(pairs) * 2 * Buffer,
		Gathers: int64(pairs) * int64(fragments) * page,
	}
}

// Total is the sum.
func (s PoolSize) Total() int64 { return s.Rings + s.Windows + s.Gathers + s.Lent }
