package transport

// Domain is who may see a memory's bytes: one user's, on one device. Memory,
// cached extents and leases never cross domains.
type Domain struct{ UID, Device uint32 }

// Memory is one region of registered device memory. The CPU may be unable to
// touch it.
type Memory interface {
	Domain() Domain
	// Size is in bytes.
	Size() int64
	// DMABuf returns a borrowed dma-buf descriptor of the region and the offset
	// of the region's first byte in it; ok is false where there is none.
	DMABuf() (fd int, off int64, ok bool)
	// Bytes is the CPU's view of the region; nil where the CPU has none.
	Bytes() []byte
	// CopyIn copies src to the region's offset dst, possibly asynchronously;
	// src must stay untouched until done is called, which happens once.
	CopyIn(dst int64, src []byte, done func(error))
	// Gather copies spans, in order, to the region's offset dst on the device,
	// possibly asynchronously; done is called once.
	Gather(dst int64, src []Span, done func(error))
	// Visible calls done once the device sees all that peers wrote before the
	// call. For CPU memory that is at once.
	Visible(done func(error))
	// Revoked is closed when the owner has taken the memory back.
	Revoked() <-chan struct{}
}

// Span is a part of a memory. Off and Len are in bytes.
type Span struct {
	Mem      Memory
	Off, Len int64
}

// Check returns an error wrapping [ErrRange] if s lies outside of its memory.
func (s Span) Check() error {
	if s.Mem == nil || s.Off < 0 || s.Len < 0 || s.Off > s.Mem.Size()-s.Len {
		return ErrRange
	}
	return nil
}

// GatherCPU is [Memory.Gather] into memory that the CPU can touch.
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
