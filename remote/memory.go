package remote

import (
	"context"
	"errors"

	"hbmfs/transport"
)

// memory is a region that requests may name, and its attachment to a link.
type memory struct {
	mem transport.Memory
	att transport.Attachment // nil while there is no link
}

// Attach prepares mem, which must be comparable, as a destination, now and on
// each new link. While the target is away it returns nil: the next link has it.
func (t *Target) Attach(ctx context.Context, mem transport.Memory) error {
	if _, ok := mem.(transport.HostMemory); ok {
		return nil
	}
	t.attaching.Lock()
	defer t.attaching.Unlock()
	m := &memory{mem: mem}
	s, err := t.current()
	if err != nil {
		return err
	}
	if s != nil {
		if m.att, err = s.link.Attach(ctx, mem); err != nil {
			if !isLost(err) {
				return err
			}
			t.fail(s, err)
		}
	}
	t.mems = append(t.mems, m)
	return nil
}

// Detach undoes Attach. No request into mem may be under way.
func (t *Target) Detach(mem transport.Memory) error {
	if _, ok := mem.(transport.HostMemory); ok {
		return nil
	}
	t.attaching.Lock()
	defer t.attaching.Unlock()
	for i, m := range t.mems {
		if m.mem == mem {
			t.mems = append(t.mems[:i], t.mems[i+1:]...)
			return m.close()
		}
	}
	return nil
}

func (m *memory) close() error {
	if m.att == nil {
		return nil
	}
	err := m.att.Close()
	m.att = nil
	return err
}

// detachAll ends what the memories have of a link that is closed.
func (t *Target) detachAll() {
	t.attaching.Lock()
	defer t.attaching.Unlock()
	for _, m := range t.mems {
		if err := m.close(); err != nil {
			t.cfg.Log.Debug("memory not detached", "err", err)
		}
	}
}

// attachAll gives the memories to a new link. t.attaching is held.
func (t *Target) attachAll(ctx context.Context, link transport.Link) error {
	for _, m := range t.mems {
		att, err := link.Attach(ctx, m.mem)
		if errors.Is(err, transport.ErrRevoked) {
			continue // its requests fail; its owner detaches it
		}
		if err != nil {
			return err
		}
		m.att = att
	}
	return nil
}
