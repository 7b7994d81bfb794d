package cache

import (
	"slices"

	"hbmfs/cache/policy"
)

// class is a size of slots, and the frames of a pool that are cut into them. All
// of it but size and slots is guarded by Cache.mu.
type class struct {
	size  int64 // of a slot, in bytes
	slots int   // in a frame

	// room counts the slots that can be had in busy frames: those where something
	// is leased, filling or quarantined, so that they stay of this class.
	room int
	need int // slots that the lease being planned still has to get

	spare   struct{ busy, idle list[frame] } // frames with a slot that is not in use
	crowded list[frame]                      // busy, no such slot, and something in them can go
	queue   policy.Queue[extent]             // resident extents that nobody leases
}

const (
	slotStep = 64  // slots are a multiple of it, in bytes
	minSlot  = 512 // bytes; none is smaller
)

// classes returns the classes of frames of that size, the smallest slots first.
// Each divides a frame with next to no rest. From eight slots a frame on, one has
// an eighth more slots than the one before; up to there, one more.
func classes(frame int64) []class {
	var all []class
	for size := frame; size >= minSlot; {
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

// classOf returns the class of the smallest slots that hold n bytes: at least one,
// and no more than a frame.
func (fs *frames) classOf(n int64) *class {
	i, _ := slices.BinarySearchFunc(fs.classes, n, func(cl class, n int64) int { return int(cl.size - n) })
	return &fs.classes[i]
}
