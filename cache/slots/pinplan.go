package slots

import "slices"

// PinShare is which part of a memory pins may hold: one in so many.
const PinShare = 2

// Pins may lie in pinFramesNum of pinFramesDen of a memory's frames, so that some are left
// that can become of any class.
const pinFramesNum, pinFramesDen = 3, 4

// PinBudget is how many bytes the slots of what is pinned may have.
func (m *Memory) PinBudget() int64 { return m.bytes / PinShare }

// PinnedBytes is how many they have.
func (m *Memory) PinnedBytes() int64 { return m.pinned.bytes }

// PinnedFrames is how many frames have pins.
func (m *Memory) PinnedFrames() int { return m.pinned.frames }

// pinFrames is how many may.
func (m *Memory) pinFrames() int { return max(1, len(m.all)*pinFramesNum/pinFramesDen) }

// MayPin reports whether the slot's frame may have a pin.
func (m *Memory) MayPin(s *Slot) bool { return s.frame.pins > 0 || m.pinned.frames < m.pinFrames() }

// PinPlan is where that is to lie which is to be pinned next, so that all pins of a
// memory lie in few frames.
type PinPlan struct {
	m      *Memory
	bytes  int64          // of slots with pins, those of the plan too
	frames int            // that have some, likewise
	opened []*frame       // of them, those of the plan
	beside map[*Class]int // slots in other frames with pins that the plan takes
	open   map[*Class]int // slots left in frames that the plan gives their first pins
	begun  []*frame       // in which slots were taken for it
}

// PlanPins returns a plan of nothing.
func (m *Memory) PlanPins() *PinPlan {
	return &PinPlan{
		m: m, bytes: m.pinned.bytes, frames: m.pinned.frames,
		beside: make(map[*Class]int), open: make(map[*Class]int),
	}
}

// Bytes is how many bytes the slots will have that are pinned, with those of the plan.
func (p *PinPlan) Bytes() int64 { return p.bytes }

// Place is where something is to be pinned that is there.
type Place int

const (
	Nowhere Place = iota // pins lie in too many frames for that
	Here                 // where it is
	Anew                 // in a slot that it is brought to
)

// Where says where the n bytes in s are best pinned, and whether they can be brought
// anew.
func (p *PinPlan) Where(s *Slot, n int64, anew bool) Place {
	switch {
	case s.frame.pins > 0, slices.Contains(p.opened, s.frame):
		return Here
	case anew && p.hasSlot(p.m.classOf(n)):
		return Anew
	case p.mayOpen(s.frame.class):
		return Here
	case anew:
		return Anew
	case p.frames < p.m.pinFrames():
		return Here
	}
	return Nowhere
}

// Stay has what is in s pinned there.
func (p *PinPlan) Stay(s *Slot) {
	f, cl := s.frame, s.frame.class
	p.bytes += cl.size
	slot := 0 // that the others can't have any more
	if !s.held {
		slot = 1
	}
	switch {
	case f.pins > 0:
		p.beside[cl] += slot
	case slices.Contains(p.opened, f):
		p.open[cl] -= slot
	default:
		p.frames++
		p.opened = append(p.opened, f)
		p.open[cl] += cl.slots - f.held - slot
	}
}

// Bring has n bytes brought to a slot and pinned there, and returns the class for that;
// nil if pins lie in too many frames for that.
func (p *PinPlan) Bring(n int64) *Class {
	cl := p.classFor(n)
	if cl == nil {
		return nil
	}
	p.bytes += cl.size
	switch {
	case cl.hasBeside(p.beside[cl]):
		p.beside[cl]++
	case p.open[cl] > 0:
		p.open[cl]--
	default:
		p.frames++
		p.open[cl] += cl.slots - 1
	}
	return cl
}

// classFor is the class for n bytes: their own, or a larger one that has a slot in a
// frame with pins, or the largest, where another frame with pins of their own would
// leave too few; nil if there is none.
func (p *PinPlan) classFor(n int64) *Class {
	m := p.m
	if own := m.classOf(n); p.hasSlot(own) || p.mayOpen(own) {
		return own
	}
	for i := m.number(n) + 1; i < len(m.classes); i++ {
		if cl := &m.classes[i]; p.hasSlot(cl) {
			return cl
		}
	}
	if p.frames < m.pinFrames() {
		return &m.classes[len(m.classes)-1]
	}
	return nil
}

// hasSlot reports whether a frame with pins has a slot of that class to give.
func (p *PinPlan) hasSlot(cl *Class) bool { return p.open[cl] > 0 || cl.hasBeside(p.beside[cl]) }

// mayOpen reports whether one more frame, of that class, may have pins: those that are
// left must do for all that the budget allows beside, in the largest slots.
func (p *PinPlan) mayOpen(cl *Class) bool {
	m := p.m
	largest := &m.classes[len(m.classes)-1]
	more := int(max(0, m.PinBudget()-p.bytes-cl.size) / largest.size)
	return p.frames+1+largest.framesFor(more) <= m.pinFrames()
}

// hasBeside reports whether frames of the class that have pins have more slots than n
// that are free or can be made so.
func (cl *Class) hasBeside(n int) bool {
	for at := cl.pinned.First(); at != nil; at = at.Next() {
		if n -= cl.slots - at.Value.held; n < 0 {
			return true
		}
	}
	return false
}

// slotBeside returns a frame of that class with pins, or one that the plan began to give
// some, and a free slot that is there or made by eviction; nil if there is none, or no
// plan.
func (p *PinPlan) slotBeside(cl *Class) *frame {
	if p == nil {
		return nil
	}
	f := cl.pinned.Front()
	if f == nil {
		i := slices.IndexFunc(p.begun, func(f *frame) bool { return f.class == cl && f.held < cl.slots })
		if i < 0 {
			return nil
		}
		f = p.begun[i]
	}
	if f.used == cl.slots {
		p.m.evict(f.goner())
	}
	return f
}

// begin notes a frame in which a slot is taken for the plan, if there is one.
func (p *PinPlan) begin(f *frame) {
	if p != nil {
		p.begun = append(p.begun, f)
	}
}
