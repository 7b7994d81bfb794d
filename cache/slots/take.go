package slots

// Take makes s a slot of a class, for n bytes, held: one that is not in use, or that is
// taken from others. The plan made sure that there is one. With pins it lies beside those.
func (m *Memory) Take(s *Slot, cl *Class, n int64, pins *PinPlan) {
	m.count(m.classOf(n), cl)
	f := pins.slotBeside(cl)
	if f == nil {
		f = m.slotFor(cl)
		pins.begin(f)
	}
	s.inFrame.Value, s.inQueue.Value = s, s
	s.frame, s.n = f, f.take()
	s.inFrame.MoveTo(&f.slots)
	m.hold(s)
	cl.need--
}

// slotFor returns a frame with a free slot of that class, which is there or made
// by eviction. What the plan still needs is left to be had: frames that stay of
// their class anyway are used up first where others are scarce.
func (m *Memory) slotFor(cl *Class) *frame {
	if f := cl.spare.busy.Front(); f != nil {
		return f
	}
	if cl.room > 0 && m.slack() <= 0 {
		f := cl.crowded.Front()
		m.evict(f.goner())
		return f
	}
	if f := cl.spare.idle.Front(); f != nil {
		return f
	}
	if f := m.free(cl); f != nil {
		return f
	}
	m.makeRoom(cl)
	return m.slotFor(cl)
}

// makeRoom evicts what is worth least: a frame that seems dead, or else something of
// the class, or else, where that has none, the frame that was used least recently.
func (m *Memory) makeRoom(cl *Class) {
	f := m.idle.Front()
	if f != nil && f.class != cl && m.policy.Dead(f.last) {
		m.clear(f)
		return
	}
	if v := cl.queue.Victim(); v != nil {
		m.evict(v.Value)
		return
	}
	m.clear(f)
}

// clear evicts all that is in an idle frame.
func (m *Memory) clear(f *frame) {
	for s := f.slots.Front(); s != nil; s = f.slots.Front() {
		m.evict(s)
	}
}

// goner is a slot of the frame that can go.
func (f *frame) goner() *Slot {
	for n := f.slots.First(); ; n = n.Next() {
		if !n.Value.held {
			return n.Value
		}
	}
}
