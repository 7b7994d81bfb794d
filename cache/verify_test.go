package cache

import "slices"

// verify checks that everything the cache keeps twice agrees.
func (g *rig) verify() {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	var usage [states]Usage
	var leased, slotBytes int64
	for _, p := range g.regions {
		if p == nil {
			continue
		}
		g.verifyPins(p)
		slotBytes += g.verifyClasses(p)
		shared := 0
		for i := range p.frames.all {
			f := &p.frames.all[i]
			g.verifyFrame(p, f)
			for n := f.extents.first; n != nil; n = n.next {
				e := n.value
				usage[e.state].add(1, e.req.Dst.Len)
				if e.leases > 0 {
					leased += e.req.Dst.Len
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
			for number, b := range f.more {
				if b.whole == nil && len(b.odd) == 0 || number == 0 {
					g.t.Errorf("block %d of file %d is kept for nothing", number, f.key.Ino)
				}
			}
		}
		if listed != shared {
			g.t.Errorf("%d extents are shared, %d in their files", shared, listed)
		}
	}
	usage[unused] = g.usage[unused]
	if slotBytes != g.stats.SlotBytes {
		g.t.Errorf("slots of %d bytes are in use, stats say %d", slotBytes, g.stats.SlotBytes)
	}
	if usage != g.usage || leased != g.stats.LeasedBytes {
		g.t.Errorf("counted %v and %d leased bytes, stats say %v and %d", usage, leased, g.usage, g.stats.LeasedBytes)
	}
	if int64(g.filling.n) != usage[filling].Extents {
		g.t.Errorf("%d extents are listed as filling, %d are", g.filling.n, usage[filling].Extents)
	}
}

// verifyPins checks what a pool, its frames and files count of pins.
func (g *rig) verifyPins(p *pool) {
	g.t.Helper()
	var want pins
	files := make(map[*file]int)
	for i := range p.frames.all {
		f, n := &p.frames.all[i], 0
		for at := f.extents.first; at != nil; at = at.next {
			e := at.value
			if e.pin == nil {
				continue
			}
			n++
			files[e.file]++
			want.bytes += e.req.Dst.Len
			want.held += f.class.size
			if e.pin.e != e || e.state != resident || e.pin.inPool.in != &p.pins.all {
				g.t.Errorf("the pin of the extent at %d is wrong: %+v", e.req.Off, e.pin)
			}
			if timed := !e.pin.until.IsZero(); timed && g.expiring[e.pin.place] != e.pin {
				g.t.Errorf("the pin of the extent at %d will not end", e.req.Off)
			}
		}
		if n > 0 {
			want.frames++
		}
		if f.pins != n {
			g.t.Errorf("frame at %d: %d pins, counted %d", f.off, f.pins, n)
		}
	}
	got := p.pins
	if n := got.all.n; got.bytes != want.bytes || got.held != want.held || got.frames != want.frames || got.files != len(files) || (n > 0) != (want.bytes > 0) {
		g.t.Errorf("pins: %+v, counted %+v in %d files", got, want, len(files))
	}
	for f, n := range files {
		if f == nil || f.pins != n || f.source == nil {
			g.t.Errorf("pins of a file: %+v, counted %d", f, n)
		}
	}
}

func (g *rig) verifyFrame(p *pool, f *frame) {
	g.t.Helper()
	held := 0
	slots := make(map[int]bool)
	for n := f.extents.first; n != nil; n = n.next {
		e := n.value
		if !e.goes() {
			held++
		}
		if slots[e.slot] || slices.Contains(f.returned, e.slot) {
			g.t.Errorf("slot %d of the frame at %d is used twice", e.slot, f.off)
		}
		slots[e.slot] = true
	}
	switch {
	case held != f.held, len(slots) != f.used, f.extents.n != f.used, (f.class == nil) != (f.used == 0), f.asked != 0:
		g.t.Errorf("frame at %d: %d held, %d slots; it says %d, %d, %d asked", f.off, held, len(slots), f.held, f.used, f.asked)
	case (f.idle.in == &p.frames.idle) != (f.used > 0 && held == 0):
		g.t.Errorf("frame at %d with %d slots used and %d held: in the idle list %v", f.off, f.used, held, f.idle.in != nil)
	case (f.beside.in != nil) != (f.pins > 0 && f.held < f.class.slots) || f.beside.in != nil && f.beside.in != &f.class.pinned:
		g.t.Errorf("frame at %d: %d pins, %d of %d slots held; in the list of those with pins %v", f.off, f.pins, f.held, f.class.slots, f.beside.in != nil)
	case f.class != nil && f.room.in != f.roomList():
		g.t.Errorf("frame at %d: not where its class would look for it", f.off)
	}
}

// verifyClasses checks what the classes of a pool count.
func (g *rig) verifyClasses(p *pool) (slotBytes int64) {
	g.t.Helper()
	fs := &p.frames
	for i := range fs.classes {
		cl := &fs.classes[i]
		room, can, frames := 0, 0, 0
		for j := range fs.all {
			if f := &fs.all[j]; f.class == cl {
				frames++
				slotBytes += int64(f.used) * cl.size
				if f.held > 0 {
					room += cl.slots - f.held
				}
				can += f.used - f.held
			}
		}
		if cl.room != room || cl.need != 0 || cl.queue.Len() != can || cl.frames != frames {
			g.t.Errorf("class of %d bytes: room %d, need %d, %d can go; counted %d, 0, %d", cl.size, cl.room, cl.need, cl.queue.Len(), room, can)
		}
	}
	return slotBytes
}

func (g *rig) verifyExtent(p *pool, f *frame, e *extent) {
	g.t.Helper()
	off, n := e.req.Dst.Off, e.req.Dst.Len
	if off != f.off+int64(e.slot)*f.class.size || off+n > f.off+p.frames.size || n > f.class.size || e.req.Dst.Mem != p.region {
		g.t.Errorf("extent of %d bytes at %d is not in its slot of the frame at %d", n, off, f.off)
	}
	if e.state != filling && len(e.waiters) > 0 || e.state != resident && e.leases > 0 {
		g.t.Errorf("extent in state %d has %d waiters, %d leases", e.state, len(e.waiters), e.leases)
	}
	if e.state == resident && e.file == nil && e.leases == 0 || e.state == quarantined && e.file != nil {
		g.t.Errorf("extent in state %d with %d leases: in the table %v", e.state, e.leases, e.file != nil)
	}
	if e.file != nil {
		g.verifyShared(p, e)
	}
}

// verifyShared checks that an extent is found by its range, and that none of its
// bytes is under way in another.
func (g *rig) verifyShared(p *pool, e *extent) {
	g.t.Helper()
	s := e.span()
	if p.files[e.file.key] != e.file {
		g.t.Errorf("extent at %d is of a file that is not found", s.from)
	}
	for n := s.from >> g.extentBits; n <= (s.to-1)>>g.extentBits; n++ {
		b := e.file.block(n)
		switch {
		case b == nil, e.whole != (b.whole == e), e.whole == slices.Contains(b.odd, oddSpan{s, e}),
			slices.Contains(b.filling, e) != (e.state == filling && !e.whole), !e.whole && b.longest < s.len():
			g.t.Errorf("extent at %d is not in the index of block %d as it should be", s.from, n)
		}
	}
	for n := e.file.extents.first; n != nil; n = n.next {
		if o := n.value; o != e && o.state == filling && e.state == filling && o.span().overlaps(s) {
			g.t.Errorf("%v and %v are both filling", s, o.span())
		}
	}
}
