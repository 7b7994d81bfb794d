package links

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// Memory is a region that requests may name, and its attachment to a link.
type Memory struct {
	mem     transport.Memory
	att     transport.Attachment // nil while there is no link; guarded by Memories.mu
	decided atomic.Pointer[Decision]
}

// Decision is the number of the transport by whose link a memory's requests go, and
// why by none that is more direct; or else Err says why by no link.
type Decision struct {
	Number int
	Why    uapi.Reason
	Err    error
}

// Decision returns what was decided last; nothing where there was no session yet, or r
// is nil.
func (r *Memory) Decision() (d Decision, ok bool) {
	if r == nil || r.decided.Load() == nil {
		return d, false
	}
	return *r.decided.Load(), true
}

// Memories are the regions of a target's users, which follow its sessions.
type Memories struct {
	cfg Config

	// Set by Begin.
	selection *transport.Selection
	first     int

	mu      sync.Mutex // guards changes of what follows, and orders attachments with new sessions
	regions sync.Map   // *Memory by its transport.Memory
	path    uapi.Path  // the most direct into any
}

// NewMemories returns none yet.
func NewMemories(cfg Config) *Memories { return &Memories{cfg: cfg} }

// Find returns what is known of mem; nil if it is not attached.
func (m *Memories) Find(mem transport.Memory) *Memory {
	r, _ := m.regions.Load(mem)
	found, _ := r.(*Memory)
	return found
}

// Attach prepares mem in the session that current returns, and in each that follows; in
// those only if there is none. The error wraps [transport.ErrUnavailable] if no link
// will do, and [transport.ErrNotDirect] if that is because none is direct. If it is the
// session's loss, lost is told instead, and the next one has mem.
func (m *Memories) Attach(ctx context.Context, mem transport.Memory, current func() (*Session, error), lost func(error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := current()
	if err != nil {
		return err
	}
	added := &Memory{mem: mem}
	if s != nil {
		err = m.serve(ctx, s, added)
	}
	switch {
	case errors.Is(err, transport.ErrSession) || errors.Is(err, transport.ErrClosed):
		lost(err)
	case err != nil:
		return err
	}
	m.regions.Store(mem, added)
	return nil
}

// Detach undoes Attach.
func (m *Memories) Detach(mem transport.Memory) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.Find(mem)
	if r == nil {
		return nil
	}
	m.regions.Delete(mem)
	return r.close()
}

func (r *Memory) close() error {
	if r.att == nil {
		return nil
	}
	err := r.att.Close()
	r.att = nil
	return err
}

// all are the regions now. m.mu is held.
func (m *Memories) all() (all []*Memory) {
	m.regions.Range(func(_, r any) bool {
		all = append(all, r.(*Memory))
		return true
	})
	return all
}

// DetachAll ends what the memories have of links that are closed.
func (m *Memories) DetachAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.all() {
		_ = r.close() // the link is gone, with all that it had
	}
}

// Redial makes links in a session by the transports that were used in the last one,
// but for those that this host has not any more: where that is not the first's, their
// memories take others. extend is called for each.
func (m *Memories) Redial(ctx context.Context, s *Session, extend func()) error {
	m.mu.Lock()
	used := map[int]bool{m.first: true}
	for _, r := range m.all() {
		if d, ok := r.Decision(); ok {
			used[d.Number] = true
		}
	}
	m.mu.Unlock()
	for number := range used {
		_, err := s.dial(ctx, number, m.cfg.Candidates[number].Transport)
		if err != nil && (number == m.first || !errors.Is(err, transport.ErrUnavailable)) {
			return err
		}
		extend()
	}
	return nil
}

// MoveTo attaches the memories in a session, and calls install. One that no link will do
// for is refused in that session.
func (m *Memories) MoveTo(ctx context.Context, s *Session, install func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.all() {
		err := m.serve(ctx, s, r)
		switch {
		case errors.Is(err, transport.ErrRevoked) || errors.Is(err, transport.ErrUnavailable):
			r.decided.Store(&Decision{Number: m.first, Err: err}) // its requests fail; its owner detaches it
		case err != nil:
			return err
		}
	}
	return install()
}
