package cache

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
		if err := p.memory.Check(); err != nil {
			g.t.Error(err)
		}
		g.verifyPins(p)
		shared := 0
		for slot := range p.memory.All() {
			e := slot.Tag.(*extent)
			usage[e.state].add(1, e.req.Dst.Len)
			slotBytes += slot.Size()
			if e.leases > 0 {
				leased += e.req.Dst.Len
			}
			if e.file != nil {
				shared++
			}
			g.verifyExtent(p, e)
		}
		listed := 0
		for _, f := range p.files {
			listed += f.index.Len()
			if err := f.index.Check(); err != nil {
				g.t.Errorf("file %d: %v", f.key.Ino, err)
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
	if int64(g.filling.Len()) != usage[filling].Extents {
		g.t.Errorf("%d extents are listed as filling, %d are", g.filling.Len(), usage[filling].Extents)
	}
}

// verifyPins checks what a pool, its memory and files count of pins.
func (g *rig) verifyPins(p *pool) {
	g.t.Helper()
	var n int
	var bytes, held int64
	files := make(map[*file]int)
	for slot := range p.memory.All() {
		e := slot.Tag.(*extent)
		if e.pin == nil {
			continue
		}
		n++
		files[e.file]++
		bytes += e.req.Dst.Len
		held += slot.Size()
		if e.pin.e != e || e.state != resident || e.pin.inPool.In() != &p.pins.all {
			g.t.Errorf("the pin of the extent at %d is wrong: %+v", e.req.Off, e.pin)
		}
		if timed := !e.pin.until.IsZero(); timed && g.expiring[e.pin.place] != e.pin {
			g.t.Errorf("the pin of the extent at %d will not end", e.req.Off)
		}
	}
	if got := p.pins; got.all.Len() != n || got.bytes != bytes || p.memory.PinnedBytes() != held || got.files != len(files) {
		g.t.Errorf("pins: %+v of %d bytes; counted %d of %d, %d in %d files", got, p.memory.PinnedBytes(), n, bytes, held, len(files))
	}
	for f, n := range files {
		if f == nil || f.pins != n || f.source == nil {
			g.t.Errorf("pins of a file: %+v, counted %d", f, n)
		}
	}
}

func (g *rig) verifyExtent(p *pool, e *extent) {
	g.t.Helper()
	off, n := e.req.Dst.Off, e.req.Dst.Len
	if off != e.slot.Off() || n > e.slot.Size() || e.req.Dst.Mem != p.region || e.slot.Tag != e {
		g.t.Errorf("extent of %d bytes at %d is not in its slot at %d", n, off, e.slot.Off())
	}
	if e.slot.IsHeld() == e.goes() {
		g.t.Errorf("extent in state %d with %d leases, pinned %v: its slot is held %v", e.state, e.leases, e.pin != nil, e.slot.IsHeld())
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
		g.t.Errorf("extent at %d is of a file that is not found", s.From)
	}
	if e.place.Span != s || e.place.Tag != e || e.place.IsComing() != (e.state == filling) {
		g.t.Errorf("extent at %d in state %d is not in the index as it should be: %+v", s.From, e.state, e.place)
	}
	for n := e.file.index.First(); n != nil; n = n.Next() {
		if o := extentAt(n.Value); o != e && o.state == filling && e.state == filling && o.span().Overlaps(s) {
			g.t.Errorf("%v and %v are both filling", s, o.span())
		}
	}
}
