package cache

import (
	"slices"

	"hbmfs/cache/policy"
)

// class is a size of slots, and the frames of a pool that are cut into them. All
// of it but size and slots is guarded by Cache.mu.
type class struct {
	size   int64 // of a slot, in bytes
	slots  int   // in a frame
	frames int

	// While the class has no frame, astray is how many bytes of larger slots were
	// used for what would fit its own, and since what frames.placed was before.
	astray, since int64

	// room counts the slots that can be had in busy frames: those where something
	// is leased, filling or quarantined, so that they stay of this class.
	room int
	need int // slots that the lease being planned still has to get

	spare   struct{ busy, idle list[frame] } // frames with a slot that is not in use
	pinned  list[frame]                      // with pins, and a slot that is free or can be made so
	crowded list[frame]                      // busy, no such slot, and something in them can go
	queue   policy.Queue[extent]             // resident extents that nobody leases
}

const (
	slotStep = 64  // slots are a multiple of it, in bytes
	minSlot  = 512 // bytes; none is smaller

	mostExtents = 8   // in a frame
	manyFrames  = 128 // in a pool
)

// frameSize is that of a pool's frames: several extents where there are many frames
// all the same, since the more slots a frame has, the closer their sizes can be.
func frameSize(region, extent int64) int64 {
	size := extent
	for size < mostExtents*extent && region/(2*size) >= manyFrames {
		size *= 2
	}
	return size
}

// classes returns the classes of frames of that size, the smallest slots first, and
// the largest of a whole extent. Each divides a frame with next to no rest. From
// eight slots a frame on, one has an eighth more slots than the one before; up to
// there, one more.
func classes(frame, extent int64) []class {
	var all []class
	for size := extent; size >= minSlot; {
		slots := frame / size
		all = append(all, class{size: size, slots: int(slots)})
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
func (fs *frames) place(n int64) *class {
	own := fs.classOf(n)
	if own.frames > 0 || fs.worth(own) {
		return own
	}
	for i := fs.number(n) + 1; i < len(fs.classes); i++ {
		cl := &fs.classes[i]
		if cl.size > fs.size/2 {
			break
		}
		if cl.spare.busy.n+cl.spare.idle.n+cl.queue.Len() > 0 {
			return cl
		}
	}
	return own
}

// worth reports whether a class that has no frame should have one: not before it would
// use some of it, and if of all that was placed since, it had what half a frame is of the pool.
func (fs *frames) worth(cl *class) bool {
	return cl.astray+cl.size > fs.size/32 && cl.astray*int64(2*len(fs.all)) >= fs.placed-cl.since
}

// count counts that a slot of class cl was given to what fits own.
func (fs *frames) count(own, cl *class) {
	if own != cl {
		if own.astray == 0 {
			own.since = fs.placed
		}
		own.astray += cl.size
	}
	fs.placed += cl.size
}

// classOf returns the class of the smallest slots that hold n bytes: at least one,
// and no more than a frame.
func (fs *frames) classOf(n int64) *class {
	return &fs.classes[fs.number(n)]
}

func (fs *frames) number(n int64) int {
	i, _ := slices.BinarySearchFunc(fs.classes, n, func(cl class, n int64) int { return int(cl.size - n) })
	return i
}
