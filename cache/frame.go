package cache

import "hbmfs/cache/policy"

// frame is a span of a region, of one or more times Config.Extent: free, or cut into
// slots of one class.
type frame struct {
	off      int64  // in the region
	prepared int64  // bytes from its begin on, once and for all
	class    *class // nil: the frame is free
	used     int    // slots in use
	held     int    // of them, those whose extent is leased, filling or quarantined
	asked    int    // of the others, those that the lease being planned will hold
	pins     int    // of the extents, those that are pinned
	fresh    int    // slots from here on were not used since the frame was cut
	returned []int  // slots before fresh that are not in use
	last     uint64 // when it became idle, by the policy's clock

	extents list[extent]
	idle    node[frame] // in frames.idle while nothing holds the frame
	beside  node[frame] // in its class's pinned
	room    node[frame] // in one of its class's lists while a slot of it can be had
}

// frames is the memory of a pool. All of it is guarded by Cache.mu.
type frames struct {
	all      []frame
	fresh    int      // frames from here on were never used
	returned []*frame // frames before fresh that are free
	classes  []class
	asked    []*class // whose need is not 0
	size     int64    // of a frame, in bytes
	placed   int64    // bytes of slots that were ever used
	policy   policy.Policy

	idle list[frame] // in use, and nothing holds them; the longest so first
}

func (fs *frames) init(region, extent int64) {
	size := frameSize(region, extent)
	n := region / size
	fs.size = size
	fs.all = make([]frame, n)
	fs.returned = make([]*frame, 0, n)
	fs.classes = classes(size, extent)
	for i := range fs.all {
		f := &fs.all[i]
		f.off = int64(i) * size
		f.idle.value, f.room.value, f.beside.value = f, f, f
	}
	for i := range fs.classes {
		fs.classes[i].queue.Init(&fs.policy)
	}
}

// unused counts the free frames.
func (fs *frames) unused() int { return len(fs.returned) + len(fs.all) - fs.fresh }

// available counts the frames that are free or can be emptied.
func (fs *frames) available() int { return fs.unused() + fs.idle.n }

// want counts a slot that the lease being planned needs.
func (fs *frames) want(cl *class) {
	if cl.need++; cl.need == 1 {
		fs.asked = append(fs.asked, cl)
	}
}

// planned forgets what a lease still needed.
func (fs *frames) planned() {
	for _, cl := range fs.asked {
		cl.need = 0
	}
	fs.asked = fs.asked[:0]
}

// slack is how many frames are available beyond those that the lease being
// planned needs: what its classes have no room for in busy frames. Less than 0 is
// how many are missing.
func (fs *frames) slack() int {
	n := fs.available()
	for _, cl := range fs.asked {
		if lacking := cl.need - cl.room; lacking > 0 {
			n -= (lacking + cl.slots - 1) / cl.slots
		}
	}
	return n
}

// free takes a frame that holds nothing, and cuts it; nil if there is none.
func (fs *frames) free(cl *class) *frame {
	var f *frame
	if last := len(fs.returned) - 1; last >= 0 {
		f = fs.returned[last]
		fs.returned = fs.returned[:last]
	} else if fs.fresh < len(fs.all) {
		f = &fs.all[fs.fresh]
		fs.fresh++
	} else {
		return nil
	}
	f.class = cl
	cl.frames++
	cl.astray = 0
	fs.policy.Resize(cl.slots)
	return f
}

// take takes a slot of the frame. Hold must follow.
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

// prepare returns the part of the region that is to be prepared before the first n
// bytes of the frame are used, and counts it as prepared: none if that was done, and
// else a multiple of unit.
func (f *frame) prepare(n, unit int64) span {
	from := f.prepared
	f.prepared = max(from, (n+unit-1)/unit*unit)
	return span{f.off + from, f.off + f.prepared}
}

// give gives a slot back that nothing holds.
func (fs *frames) give(f *frame, slot int) {
	f.used--
	f.returned = append(f.returned, slot)
	fs.settle(f)
}

// hold counts an extent in the frame that can't go.
func (fs *frames) hold(f *frame) {
	f.class.room += f.holding()
	f.held++
	fs.settle(f)
}

// unhold undoes hold.
func (fs *frames) unhold(f *frame) {
	f.held--
	f.class.room -= f.holding()
	fs.settle(f)
}

// holding is what its class's room gains when one more of its extents is held.
func (f *frame) holding() int {
	if f.held+f.asked == 0 {
		return f.class.slots - 1
	}
	return -1
}

// settle puts the frame on the lists that what is in it calls for.
func (fs *frames) settle(f *frame) {
	if f.used == 0 {
		f.idle.moveTo(nil)
		f.room.moveTo(nil)
		f.class.frames--
		fs.policy.Resize(-f.class.slots)
		f.class, f.fresh, f.returned = nil, 0, f.returned[:0]
		fs.returned = append(fs.returned, f)
		return
	}
	if f.held > 0 {
		f.idle.moveTo(nil)
	} else if f.idle.in == nil {
		f.idle.moveTo(&fs.idle)
		f.last = fs.policy.Now()
	}
	f.room.moveTo(f.roomList())
	if f.pins > 0 && f.held < f.class.slots {
		f.beside.moveTo(&f.class.pinned)
	} else {
		f.beside.moveTo(nil)
	}
}

func (f *frame) roomList() *list[frame] {
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
