package cache

import "slices"

// verify checks that everything the cache keeps twice agrees.
func (g *rig) verify() {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	var usage [states]Usage
	var pinned int64
	for _, p := range g.regions {
		if p == nil {
			continue
		}
		shared := 0
		for i := range p.frames.all {
			f := &p.frames.all[i]
			g.verifyFrame(p, f)
			for n := f.extents.first; n != nil; n = n.next {
				e := n.value
				usage[e.state].add(1, e.req.Dst.Len)
				if e.leases > 0 {
					pinned += e.req.Dst.Len
				}
				if e.file != nil {
					shared++
				}
				g.verifyExtent(p, f, e)
			}
		}
		listed := 0
		for _, f := range p.files {
			listed += f.extents.n
		}
		if shared != len(p.table) || listed != shared {
			g.t.Errorf("%d extents are shared, %d in the table, %d in their files", shared, len(p.table), listed)
		}
	}
	usage[unused] = g.usage[unused]
	if usage != g.usage || pinned != g.stats.PinnedBytes {
		g.t.Errorf("counted %v and %d pinned bytes, stats say %v and %d", usage, pinned, g.usage, g.stats.PinnedBytes)
	}
	if int64(g.filling.n) != usage[filling].Extents {
		g.t.Errorf("%d extents are listed as filling, %d are", g.filling.n, usage[filling].Extents)
	}
}

func (g *rig) verifyFrame(p *pool, f *frame) {
	g.t.Helper()
	holds := 0
	slots := make(map[int]bool)
	for n := f.extents.first; n != nil; n = n.next {
		e := n.value
		holds += e.leases
		if e.state != resident {
			holds++
		}
		if slots[e.slot] || slices.Contains(f.returned, e.slot) {
			g.t.Errorf("slot %d of the frame at %d is used twice", e.slot, f.off)
		}
		slots[e.slot] = true
	}
	spare := &p.frames.partial[f.slotBits]
	full := f.used > 0 && f.used == 1<<(p.frames.frameBits-f.slotBits)
	switch {
	case holds != f.holds, len(slots) != f.used, f.extents.n != f.used:
		g.t.Errorf("frame at %d: %d holds, %d slots; it says %d, %d", f.off, holds, len(slots), f.holds, f.used)
	case (f.idle.in == &p.frames.idle) != (f.used > 0 && holds == 0):
		g.t.Errorf("frame at %d with %d slots used and %d holds: in the idle list %v", f.off, f.used, holds, f.idle.in != nil)
	case (f.partial.in == &spare.busy) != (f.used > 0 && !full && holds > 0):
		g.t.Errorf("frame at %d: wrongly in or not in the busy partial list", f.off)
	case (f.partial.in == &spare.idle) != (f.used > 0 && !full && holds == 0):
		g.t.Errorf("frame at %d: wrongly in or not in the idle partial list", f.off)
	}
}

func (g *rig) verifyExtent(p *pool, f *frame, e *extent) {
	g.t.Helper()
	off, n := e.req.Dst.Off, e.req.Dst.Len
	if off < f.off || off+n > f.off+testExtent || n > 1<<f.slotBits || e.req.Dst.Mem != p.region {
		g.t.Errorf("extent of %d bytes at %d is not in its slot of the frame at %d", n, off, f.off)
	}
	if e.state != filling && len(e.waiters) > 0 || e.state != resident && e.leases > 0 {
		g.t.Errorf("extent in state %d has %d waiters, %d leases", e.state, len(e.waiters), e.leases)
	}
	if e.state == resident && e.file == nil && e.leases == 0 || e.state == quarantined && e.file != nil {
		g.t.Errorf("extent in state %d with %d leases: in the table %v", e.state, e.leases, e.file != nil)
	}
	if e.file != nil && p.table[e.place()] != e {
		g.t.Errorf("extent at %d is not what its table finds", off)
	}
}
