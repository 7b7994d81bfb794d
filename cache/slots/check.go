package slots

import (
	"errors"
	"fmt"
	"iter"

	"hbmfs/cache/internal/list"
)

// All are the slots that are in use, frame by frame.
func (m *Memory) All() iter.Seq[*Slot] {
	return func(yield func(*Slot) bool) {
		for i := range m.all {
			for n := m.all[i].slots.First(); n != nil; n = n.Next() {
				if !yield(n.Value) {
					return
				}
			}
		}
	}
}

// Idle is a slot of each frame in which nothing is held, the longest so first.
func (m *Memory) Idle() iter.Seq[*Slot] {
	return func(yield func(*Slot) bool) {
		for n := m.idle.First(); n != nil && yield(n.Value.slots.Front()); n = n.Next() {
		}
	}
}

// Fit is the size of the slots that n bytes fit best, in bytes, and how many of them a
// frame has.
func (m *Memory) Fit(n int64) (size int64, slots int) {
	cl := m.classOf(n)
	return cl.size, cl.slots
}

// IsHeld reports whether what lies in the slot can't go.
func (s *Slot) IsHeld() bool { return s.held }

// Check returns what of all that the memory keeps twice does not agree, while there is no
// plan. It looks at everything: it is for tests.
func (m *Memory) Check() error {
	var errs []error
	bytes, frames := int64(0), 0
	for i := range m.all {
		f := &m.all[i]
		errs = append(errs, m.checkFrame(f))
		if f.pins > 0 {
			bytes, frames = bytes+int64(f.pins)*f.class.size, frames+1
		}
	}
	if m.pinned.bytes != bytes || m.pinned.frames != frames {
		errs = append(errs, fmt.Errorf("pins of %d bytes in %d frames, counted %d, %d", m.pinned.bytes, m.pinned.frames, bytes, frames))
	}
	for i := range m.classes {
		errs = append(errs, m.checkClass(&m.classes[i]))
	}
	return errors.Join(errs...)
}

func (m *Memory) checkFrame(f *frame) error {
	held, used := 0, make(map[int]bool)
	for _, n := range f.returned {
		used[n] = true
	}
	for n := f.slots.First(); n != nil; n = n.Next() {
		s := n.Value
		if s.held {
			held++
		}
		if s.frame != f || used[s.n] || s.n >= f.fresh || s.Off()+s.Size() > f.off+m.size {
			return fmt.Errorf("slot %d of the frame at %d is not the frame's, or used twice", s.n, f.off)
		}
		used[s.n] = true
	}
	var beside *list.List[frame]
	if f.pins > 0 && f.held < f.class.slots {
		beside = &f.class.pinned
	}
	switch {
	case held != f.held, f.slots.Len() != f.used, (f.class == nil) != (f.used == 0), f.asked != 0, f.pins > held:
		return fmt.Errorf("frame at %d: %d slots, %d held; it says %d, %d, %d asked, %d pins", f.off, f.slots.Len(), held, f.used, f.held, f.asked, f.pins)
	case (f.idle.In() == &m.idle) != (f.used > 0 && held == 0):
		return fmt.Errorf("frame at %d with %d slots used and %d held: in the idle list %v", f.off, f.used, held, f.idle.In() != nil)
	case f.beside.In() != beside:
		return fmt.Errorf("frame at %d: %d pins, %d slots held; in the list of those with pins %v", f.off, f.pins, f.held, f.beside.In() != nil)
	case f.class != nil && f.room.In() != f.roomList():
		return fmt.Errorf("frame at %d: not where its class would look for it", f.off)
	}
	return nil
}

func (m *Memory) checkClass(cl *Class) error {
	room, frames, can := 0, 0, 0
	for i := range m.all {
		f := &m.all[i]
		if f.class != cl {
			continue
		}
		frames++
		if f.held > 0 {
			room += cl.slots - f.held
		}
		can += f.used - f.held
	}
	if cl.room != room || cl.need != 0 || cl.queue.Len() != can || cl.frames != frames {
		return fmt.Errorf("class of %d bytes: room %d, need %d, %d can go, %d frames; counted %d, 0, %d, %d", cl.size, cl.room, cl.need, cl.queue.Len(), cl.frames, room, can, frames)
	}
	return nil
}
