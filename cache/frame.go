package cache

import "math/bits"

// frame is Config.Extent bytes of a region: free, or cut into slots of one size.
type frame struct {
	off      int64 // in the region
	slotBits int   // log2 of the slots' size; 0: the frame is free
	used     int   // slots in use
	holds    int   // leases and transfers in it
	fresh    int   // slots from here on were not used since the frame was cut
	returned []int // slots before fresh that are not in use

	extents list[extent]
	idle    node[frame] // in pool.idle while nothing holds the frame
	partial node[frame] // in one of pool.partial while a slot is not in use
}

// frames is the memory of a pool. All of it is guarded by Cache.mu.
type frames struct {
	all       []frame
	fresh     int      // frames from here on were never used
	returned  []*frame // frames before fresh that are free
	frameBits int      // log2 of a frame's size

	idle list[frame] // evictable, least recently leased first
	// partial lists the frames with a slot to spare, by slotBits. The busy ones
	// are not evictable anyway, so they are filled first.
	partial [64]struct{ busy, idle list[frame] }
}

func newFrames(region int64, frameBits int) frames {
	n := region >> frameBits
	fs := frames{
		all:       make([]frame, n),
		returned:  make([]*frame, 0, n),
		frameBits: frameBits,
	}
	for i := range fs.all {
		f := &fs.all[i]
		f.off = int64(i) << frameBits
		f.idle.value, f.partial.value = f, f
	}
	return fs
}

// slotBits is log2 of the slot that n bytes take: a power of two of at least
// minSlot.
func slotBits(n int64) int {
	return bits.Len64(uint64(max(n, minSlot) - 1))
}

// available counts the frames that are free or can be evicted.
func (fs *frames) available() int {
	return len(fs.returned) + len(fs.all) - fs.fresh + fs.idle.n
}

// needs is how many available frames one extent of n bytes takes away: none if
// there is a slot for it in a frame that is busy anyway.
func (fs *frames) needs(n int64) int {
	if fs.partial[slotBits(n)].busy.n > 0 {
		return 0
	}
	return 1
}

// spare is a frame with a free slot of that size, or nil.
func (fs *frames) spare(bits int) *frame {
	p := &fs.partial[bits]
	if f := p.busy.front(); f != nil {
		return f
	}
	return p.idle.front()
}

// free takes a frame that holds nothing; nil if there is none.
func (fs *frames) free() *frame {
	if last := len(fs.returned) - 1; last >= 0 {
		f := fs.returned[last]
		fs.returned = fs.returned[:last]
		return f
	}
	if fs.fresh < len(fs.all) {
		fs.fresh++
		return &fs.all[fs.fresh-1]
	}
	return nil
}

// take takes a slot of the frame. Settle must follow.
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

// give gives a slot back. Settle must follow.
func (f *frame) give(slot int) {
	f.used--
	f.returned = append(f.returned, slot)
}

// settle puts the frame on the lists that what is in it calls for.
func (fs *frames) settle(f *frame) {
	if f.used == 0 {
		f.idle.moveTo(nil)
		f.partial.moveTo(nil)
		f.slotBits, f.fresh, f.returned = 0, 0, f.returned[:0]
		fs.returned = append(fs.returned, f)
		return
	}
	var idle, partial *list[frame]
	spare := &fs.partial[f.slotBits]
	if f.used < 1<<(fs.frameBits-f.slotBits) {
		partial = &spare.busy
	}
	if f.holds == 0 {
		idle = &fs.idle
		if partial != nil {
			partial = &spare.idle
		}
	}
	f.idle.moveTo(idle)
	f.partial.moveTo(partial)
}
