package slots

import (
	"hbmfs/cache/internal/list"
	"hbmfs/cache/policy"
)

// Slot is where something lies in a memory. The zero Slot is nowhere, and so is one that
// was freed: it can be taken anew.
type Slot struct {
	Tag any // its user's

	frame *frame
	n     int  // of those of the frame
	held  bool // what lies in it can't go

	inFrame list.Node[Slot]
	inQueue policy.Entry[Slot]
}

// Off is where in the memory the slot begins, in bytes.
func (s *Slot) Off() int64 { return s.frame.off + int64(s.n)*s.frame.class.size }

// Size is the slot's, in bytes.
func (s *Slot) Size() int64 { return s.frame.class.size }

// Prepare returns the part [from, to) of the memory that is to be prepared before the
// slot is used, and counts it as prepared: none if that was done, and else a multiple of
// unit.
func (s *Slot) Prepare(unit int64) (from, to int64) {
	return s.frame.prepare(int64(s.n+1)*s.frame.class.size, unit)
}

// Enter counts that something new, of that key, lies in a held slot and may be asked for
// again. It must be called before the slot is let go.
func (m *Memory) Enter(s *Slot, key uint64) { s.frame.class.queue.Add(&s.inQueue, key) }

// Hit counts a use of what was entered.
func (m *Memory) Hit(s *Slot) { s.frame.class.queue.Hit(&s.inQueue) }

// Hold keeps what lies in a slot that was let go.
func (m *Memory) Hold(s *Slot) {
	s.frame.class.queue.Busy(&s.inQueue)
	m.hold(s)
}

// LetGo undoes Hold, and the hold that Take began: others may have the slot.
func (m *Memory) LetGo(s *Slot) {
	m.unhold(s)
	cl := s.frame.class
	cl.queue.Idle(&s.inQueue, m.unused()+cl.spare.busy.Len()+cl.spare.idle.Len() > 0)
}

// Free gives a slot back, held or not, that is not pinned.
func (m *Memory) Free(s *Slot) {
	f := s.frame
	f.class.queue.Remove(&s.inQueue)
	if s.held {
		m.unhold(s)
	}
	s.inFrame.MoveTo(nil)
	m.give(f, s.n)
	s.frame = nil
}

// Pin counts a pin of what is held. There is one of a slot at most.
func (m *Memory) Pin(s *Slot) {
	f := s.frame
	m.pinned.bytes += f.class.size
	if f.pins++; f.pins == 1 {
		m.pinned.frames++
		m.settle(f)
	}
}

// Unpin undoes Pin.
func (m *Memory) Unpin(s *Slot) {
	f := s.frame
	m.pinned.bytes -= f.class.size
	if f.pins--; f.pins == 0 {
		m.pinned.frames--
		m.settle(f)
	}
}

// hold counts a slot in its frame that can't go.
func (m *Memory) hold(s *Slot) {
	f := s.frame
	s.held = true
	f.class.room += f.holding()
	f.held++
	m.settle(f)
}

// unhold undoes hold.
func (m *Memory) unhold(s *Slot) {
	f := s.frame
	s.held = false
	f.held--
	f.class.room -= f.holding()
	m.settle(f)
}
