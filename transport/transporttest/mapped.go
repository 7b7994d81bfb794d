package transporttest

import "hbmfs/transport"

// Mapped is memory that the CPU can address, as a part of other fakes, or by its
// pointer a [transport.Memory] itself: copies are made at once.
type Mapped []byte

var _ transport.Memory = (*Mapped)(nil)

// NewMapped returns size scribbled bytes.
func NewMapped(size int64) *Mapped {
	m := make(Mapped, size)
	Scribble(m)
	return &m
}

func (m Mapped) Domain() transport.Domain   { return transport.Domain{UID: 1000, Device: 1} }
func (m Mapped) Size() int64                { return int64(len(m)) }
func (m Mapped) DMABuf() (int, int64, bool) { return -1, 0, false }
func (m Mapped) Bytes() []byte              { return m }
func (m Mapped) Visible(done func(error))   { done(nil) }
func (m Mapped) Revoked() <-chan struct{}   { return nil }

// CopyIn copies at once.
func (m Mapped) CopyIn(dst int64, src []byte, done func(error)) {
	copy(m[dst:], src)
	done(nil)
}

// Gather copies at once; every source must be CPU-addressable.
func (m Mapped) Gather(dst int64, src []transport.Span, done func(error)) {
	done(transport.GatherCPU(m, dst, src))
}
