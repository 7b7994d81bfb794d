package slots

// Plan is what somebody is to have of a memory, all of it or nothing. It can be used
// again.
type Plan struct {
	Held  []*Slot // that are there and were let go
	Sizes []int64 // of what is to be brought, in bytes

	// Classes are those of the slots for that, in the same order: a [PinPlan]'s, if
	// there is one, or else Survey's.
	Classes []*Class
	Pins    *PinPlan // nil: nothing is to be pinned
}

// Survey returns how many frames are missing for what is to be brought, once what is
// there is held; 0 or less: none. It changes nothing but what the plan needs, until
// [Memory.Planned].
func (m *Memory) Survey(p *Plan) (missing int) {
	taken := 0
	for _, s := range p.Held {
		f := s.frame
		if f.held+f.asked == 0 {
			taken++
		}
		f.class.room += f.holding()
		f.asked++
	}
	missing = taken + m.choose(p, (*Memory).place)
	if missing > 0 {
		missing = taken + m.choose(p, (*Memory).classOf)
	}
	for _, s := range p.Held {
		s.frame.asked--
		s.frame.class.room -= s.frame.holding()
	}
	return missing
}

// choose gives what is to be brought a class each, and returns how many frames are
// missing for that.
func (m *Memory) choose(p *Plan, place func(*Memory, int64) *Class) (missing int) {
	m.Planned()
	if p.Pins == nil {
		p.Classes = p.Classes[:0]
		for _, n := range p.Sizes {
			p.Classes = append(p.Classes, place(m, n))
		}
	}
	for _, cl := range p.Classes {
		m.want(cl)
	}
	return -m.slack()
}

// want counts a slot that the plan needs.
func (m *Memory) want(cl *Class) {
	if cl.need++; cl.need == 1 {
		m.asked = append(m.asked, cl)
	}
}

// Planned forgets what a plan still needed.
func (m *Memory) Planned() {
	for _, cl := range m.asked {
		cl.need = 0
	}
	m.asked = m.asked[:0]
}

// slack is how many frames are available beyond those that the plan needs: what its
// classes have no room for in busy frames. Less than 0 is how many are missing.
func (m *Memory) slack() int {
	n := m.Available()
	for _, cl := range m.asked {
		n -= cl.framesFor(cl.need - cl.room)
	}
	return n
}

// Held counts slots that are held, by frames.
type Held map[*frame]int

// Add counts one more.
func (h Held) Add(s *Slot) { h[s.frame]++ }

// Remove undoes Add.
func (h Held) Remove(s *Slot) {
	if h[s.frame]--; h[s.frame] == 0 {
		delete(h, s.frame)
	}
}

// Pinned is what is pinned.
func (m *Memory) Pinned() Held {
	h := make(Held)
	for i := 0; len(h) < m.pinned.frames; i++ {
		if f := &m.all[i]; f.pins > 0 {
			h[f] = f.pins
		}
	}
	return h
}

// FitsBeside reports whether what was surveyed would fit if only that was held.
func (m *Memory) FitsBeside(h Held) bool {
	free, room := len(m.all)-len(h), make(map[*Class]int)
	for f, n := range h {
		room[f.class] += f.class.slots - n
	}
	for _, cl := range m.asked {
		free -= cl.framesFor(cl.need - room[cl])
	}
	return free >= 0
}
