package slots

import (
	"slices"

	"hbmfs/cache/internal/list"
	"hbmfs/cache/policy"
)

// Class is a size of slots, and the frames of a memory that are cut into them.
type Class struct {
	size   int64 // of a slot, in bytes
	slots  int   // in a frame
	frames int

	// While the class has no frame, astray is how many bytes of larger slots were
	// used for what would fit its own, and since what Memory.placed was before.
	astray, since int64

	// room counts the slots that can be had in busy frames: those where something
	// is held, so that they stay of this class.
	room int
	need int // slots that the plan still has to get

	spare   struct{ busy, idle list.List[frame] } // frames with a slot that is not in use
	pinned  list.List[frame]                      // with pins, and a slot that is free or can be made so
	crowded list.List[frame]                      // busy, no such slot, and something in them can go
	queue   policy.Queue[Slot]                    // what was entered and can go
}

const (
	slotStep = 64  // slots are a multiple of it, in bytes
	minSlot  = 512 // bytes; none is smaller

	mostExtents = 8   // in a frame
	manyFrames  = 128 // in a memory
)

// frameSize is that of a memory's frames: several extents where there are many frames
// all the same, since the more slots a frame has, the closer their sizes can be.
func frameSize(memory, extent int64) int64 {
	size := extent
	for size < mostExtents*extent && memory/(2*size) >= manyFrames {
		size *= 2
	}
	return size
}

// classes returns the classes of frames of that size, the smallest slots first, and
// the largest of a whole extent. Each divides a frame with next to no rest. From
// eight slots a frame on, one has an eighth more slots than the one before; up to
// there, one more.
func classes(frame, extent int64) []Class {
	var all []Class
	for size := extent; size >= minSlot; {
		slots := frame / size
		all = append(all, Class{size: size, slots: int(slots)})
		next := frame / (slots + max(1, slots/8))
		if slots >= 64 {
			next += slotStep - 1
		}
		size = min(size-slotStep, next) / slotStep * slotStep
	}
	slices.Reverse(all)
	return all
}

// place returns the class whose slot n bytes are to get: theirs, or a larger one that
// has one to give, while theirs has no frame and is not worth one.
func (m *Memory) place(n int64) *Class {
	own := m.classOf(n)
	if own.frames > 0 || m.worth(own) {
		return own
	}
	for i := m.number(n) + 1; i < len(m.classes); i++ {
		cl := &m.classes[i]
		if cl.size > m.size/2 {
			break
		}
		if cl.spare.busy.Len()+cl.spare.idle.Len()+cl.queue.Len() > 0 {
			return cl
		}
	}
	return own
}

// worth reports whether a class that has no frame should have one: not before it would
// use some of it, and if of all that was placed since, it had what half a frame is of the memory.
func (m *Memory) worth(cl *Class) bool {
	return cl.astray+cl.size > m.size/32 && cl.astray*int64(2*len(m.all)) >= m.placed-cl.since
}

// count counts that a slot of class cl was given to what fits own.
func (m *Memory) count(own, cl *Class) {
	if own != cl {
		if own.astray == 0 {
			own.since = m.placed
		}
		own.astray += cl.size
	}
	m.placed += cl.size
}

// classOf returns the class of the smallest slots that hold n bytes: at least one,
// and no more than a frame.
func (m *Memory) classOf(n int64) *Class {
	return &m.classes[m.number(n)]
}

func (m *Memory) number(n int64) int {
	i, _ := slices.BinarySearchFunc(m.classes, n, func(cl Class, n int64) int { return int(cl.size - n) })
	return i
}

// framesFor is how many frames so many slots take; 0 or less take none.
func (cl *Class) framesFor(slots int) int { return (max(0, slots) + cl.slots - 1) / cl.slots }
