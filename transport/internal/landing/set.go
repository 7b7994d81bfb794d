package landing

import (
	"errors"
	"fmt"
	"sync"

	"hbmfs/transport"
)

// errTwice is about a caller's slip, so it has no sentinel.
var errTwice = errors.New("memory is attached already")

// Set is the memories attached to a link. Memories are compared as interface
// values, so those of device memory must be comparable (pointers).
type Set struct{ mems sync.Map }

// Attach adds mem until the attachment is closed. [transport.HostMemory] needs
// no attachment, and gets one that does nothing. The error wraps
// [transport.ErrRevoked] if the memory is of no more use.
func (s *Set) Attach(mem transport.Memory) (transport.Attachment, error) {
	if _, ok := mem.(transport.HostMemory); ok {
		return attachment{}, nil
	}
	if Revoked(mem) {
		return nil, fmt.Errorf("attach: %w", transport.ErrRevoked)
	}
	if _, loaded := s.mems.LoadOrStore(mem, struct{}{}); loaded {
		return nil, fmt.Errorf("attach: %w", errTwice)
	}
	return attachment{set: s, mem: mem}, nil
}

// Check returns an error if bytes may not be put into dst: one wrapping
// [transport.ErrRange] if it lies outside of its memory, [transport.ErrRevoked]
// if that was taken back, [transport.ErrUnavailable] if it was not attached.
func (s *Set) Check(dst transport.Span) error {
	if err := dst.Check(); err != nil {
		return err
	}
	if _, ok := dst.Mem.(transport.HostMemory); ok {
		return nil
	}
	if _, ok := s.mems.Load(dst.Mem); !ok {
		return fmt.Errorf("%w: the memory is not attached to the link", transport.ErrUnavailable)
	}
	if Revoked(dst.Mem) {
		return transport.ErrRevoked
	}
	return nil
}

type attachment struct {
	set *Set
	mem transport.Memory
}

func (a attachment) Close() error {
	if a.set != nil {
		a.set.mems.Delete(a.mem)
	}
	return nil
}
