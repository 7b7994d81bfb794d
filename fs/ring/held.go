package ring

import (
	"sync"

	"hbmfs/fs/handles"
)

// maxHeld is how many handles a ring may have.
const maxHeld = 65536

// held is what a ring's operations pin. A handle is a place in all, from 1 on, and below
// it how often that was used before, so that an old handle finds nothing.
type held struct {
	mu     sync.Mutex
	all    []pin
	free   []uint32 // places in all
	closed bool
}

type pin struct {
	held handles.Held // nil: free
	uses uint32
}

// keep returns the handle of h. It is 0 if there are too many, or the ring has ended: h
// is released then.
func (t *held) keep(h handles.Held) (handle uint64) {
	t.mu.Lock()
	if t.closed || len(t.free) == 0 && len(t.all) == maxHeld {
		t.mu.Unlock()
		h.Release()
		return 0
	}
	defer t.mu.Unlock()
	if len(t.free) == 0 {
		t.free = append(t.free, uint32(len(t.all)))
		t.all = append(t.all, pin{})
	}
	at := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	p := &t.all[at]
	p.held = h
	p.uses++
	return uint64(p.uses)<<32 | uint64(at+1)
}

// release reports whether there was that handle, and why it was of no use any more, or
// nil.
func (t *held) release(handle uint64) (lost error, ok bool) {
	h := t.drop(handle)
	if h == nil {
		return nil, false
	}
	lost = handles.Lost(h)
	h.Release()
	return lost, true
}

func (t *held) drop(handle uint64) (h handles.Held) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := uint32(handle) - 1
	if uint64(at) >= uint64(len(t.all)) || uint64(t.all[at].uses) != handle>>32 {
		return nil
	}
	if h = t.all[at].held; h == nil {
		return nil
	}
	t.all[at].held = nil
	t.free = append(t.free, at)
	return h
}

// close releases all, and what is kept from now on.
func (t *held) close() {
	t.mu.Lock()
	all := t.all
	t.all, t.free, t.closed = nil, nil, true
	t.mu.Unlock()
	for i := range all {
		if h := all[i].held; h != nil {
			h.Release()
		}
	}
}
