package slots

import "hbmfs/cache/internal/list"

// frame is a span of the memory, of one or more extents: free, or cut into slots of one
// class.
type frame struct {
	off      int64  // in the memory
	prepared int64  // bytes from its begin on, once and for all
	class    *Class // nil: the frame is free
	used     int    // slots in use
	held     int    // of them, those that can't go
	asked    int    // of the others, those that the plan will hold
	pins     int    // slots that are pinned
	fresh    int    // slots from here on were not used since the frame was cut
	returned []int  // slots before fresh that are not in use
	last     uint64 // when it became idle, by the policy's clock

	slots  list.List[Slot]  // in use
	idle   list.Node[frame] // in Memory.idle while nothing holds the frame
	beside list.Node[frame] // in its class's pinned
	room   list.Node[frame] // in one of its class's lists while a slot of it can be had
}

// free takes a frame that holds nothing, and cuts it; nil if there is none.
func (m *Memory) free(cl *Class) *frame {
	var f *frame
	if last := len(m.returned) - 1; last >= 0 {
		f = m.returned[last]
		m.returned = m.returned[:last]
	} else if m.fresh < len(m.all) {
		f = &m.all[m.fresh]
		m.fresh++
	} else {
		return nil
	}
	f.class = cl
	cl.frames++
	cl.astray = 0
	m.policy.Resize(cl.slots)
	return f
}

// take takes a slot of the frame, which is to be held.
func (f *frame) take() int {
	f.used++
	if last := len(f.returned) - 1; last >= 0 {
		slot := f.returned[last]
		f.returned = f.returned[:last]
		return slot
	}
	f.fresh++
	return f.fresh - 1
}

// prepare returns the part of the memory that is to be prepared before the first n
// bytes of the frame are used, and counts it as prepared: none if that was done, and
// else a multiple of unit.
func (f *frame) prepare(n, unit int64) (from, to int64) {
	done := f.prepared
	f.prepared = max(done, (n+unit-1)/unit*unit)
	return f.off + done, f.off + f.prepared
}

// give gives a slot back that nothing holds.
func (m *Memory) give(f *frame, slot int) {
	f.used--
	f.returned = append(f.returned, slot)
	m.settle(f)
}

// holding is what its class's room gains when one more of its slots is held.
func (f *frame) holding() int {
	if f.held+f.asked == 0 {
		return f.class.slots - 1
	}
	return -1
}

// settle puts the frame on the lists that what is in it calls for.
func (m *Memory) settle(f *frame) {
	if f.used == 0 {
		f.idle.MoveTo(nil)
		f.room.MoveTo(nil)
		f.class.frames--
		m.policy.Resize(-f.class.slots)
		f.class, f.fresh, f.returned = nil, 0, f.returned[:0]
		m.returned = append(m.returned, f)
		return
	}
	if f.held > 0 {
		f.idle.MoveTo(nil)
	} else if f.idle.In() == nil {
		f.idle.MoveTo(&m.idle)
		f.last = m.policy.Now()
	}
	f.room.MoveTo(f.roomList())
	if f.pins > 0 && f.held < f.class.slots {
		f.beside.MoveTo(&f.class.pinned)
	} else {
		f.beside.MoveTo(nil)
	}
}

func (f *frame) roomList() *list.List[frame] {
	cl := f.class
	switch {
	case f.used < cl.slots && f.held > 0:
		return &cl.spare.busy
	case f.used < cl.slots:
		return &cl.spare.idle
	case f.held > 0 && f.held < f.used:
		return &cl.crowded
	}
	return nil
}
