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

// Attach adds mem, of which plan is true, until the attachment is closed. The error wraps
// [transport.ErrRevoked] if the memory is of no more use.
func (s *Set) Attach(mem transport.Memory, plan transport.Plan) (transport.Attachment, error) {
	if Revoked(mem) {
		return nil, fmt.Errorf("attach: %w", transport.ErrRevoked)
	}
	if _, loaded := s.mems.LoadOrStore(mem, struct{}{}); loaded {
		return nil, fmt.Errorf("attach: %w", errTwice)
	}
	return attachment{s, mem, plan}, nil
}

// Check returns an error if r's bytes may not be put where it says: one wrapping
// [transport.ErrRange] if that lies outside of its memory, [transport.ErrRevoked]
// if that was taken back, [transport.ErrUnavailable] if it was not attached. A call
// is checked whole: the error wraps [transport.ErrRange].
func (s *Set) Check(r Request) error {
	switch c := r.Call; {
	case r.Plain():
		return nil
	case c != nil && (len(c.Ask) < 1 || len(c.Ask) > transport.MaxCall || cap(c.Answer) < transport.MaxCall):
		return fmt.Errorf("%w: an ask of %d bytes, room for an answer of %d", transport.ErrRange, len(c.Ask), cap(c.Answer))
	case c != nil:
		return nil
	}
	if err := r.Dst.Check(); err != nil {
		return err
	}
	if _, ok := s.mems.Load(r.Dst.Mem); !ok {
		return fmt.Errorf("%w: the memory is not attached to the link", transport.ErrUnavailable)
	}
	if r.Revoked() {
		return transport.ErrRevoked
	}
	return nil
}

type attachment struct {
	set  *Set
	mem  transport.Memory
	plan transport.Plan
}

func (a attachment) Plan() transport.Plan { return a.plan }

func (a attachment) Close() error {
	a.set.mems.Delete(a.mem)
	return nil
}
