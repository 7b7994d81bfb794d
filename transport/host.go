package transport

// HostMemory is ordinary memory of this process as a destination: what plain
// reads use. The zero Domain marks it as nobody's device memory.
type HostMemory []byte

func (m HostMemory) Domain() Domain             { return Domain{} }
func (m HostMemory) Size() int64                { return int64(len(m)) }
func (m HostMemory) DMABuf() (int, int64, bool) { return -1, 0, false }
func (m HostMemory) Bytes() []byte              { return m }

// CopyIn copies at once.
func (m HostMemory) CopyIn(dst int64, src []byte, done func(error)) {
	copy(m[dst:], src)
	done(nil)
}

// Gather copies at once; every source must be CPU-addressable.
func (m HostMemory) Gather(dst int64, src []Span, done func(error)) {
	done(GatherCPU(m, dst, src))
}

// Visible is immediate: the CPU is the device.
func (m HostMemory) Visible(done func(error)) { done(nil) }

// Revoked never fires.
func (m HostMemory) Revoked() <-chan struct{} { return nil }

// GatherCPU is [Memory.Gather] for memory that the CPU can touch.
func GatherCPU(dst []byte, at int64, src []Span) error {
	for _, s := range src {
		from := s.Mem.Bytes()
		if from == nil {
			return ErrUnavailable
		}
		if err := s.Check(); err != nil {
			return err
		}
		if at < 0 || at > int64(len(dst))-s.Len {
			return ErrRange
		}
		copy(dst[at:at+s.Len], from[s.Off:s.Off+s.Len])
		at += s.Len
	}
	return nil
}
