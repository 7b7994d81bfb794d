package cache

import "slices"

// pinPlan is where that is to lie which a step of a Pin finds or brings, so that all
// pins of a pool lie in few frames. All of it is of a lease being planned.
type pinPlan struct {
	*pool
	l      *Lease
	n      int            // pins, as are the next two, with those of the step
	held   int64          // bytes
	frames int            // that have some
	opened []*frame       // of them, those of the step
	beside map[*class]int // slots in other frames with pins that the step takes
	open   map[*class]int // slots left in frames that the step gives their first pins
	spans  []span
}

// planPins decides for each part of a lease whether it is pinned where it is, fetched
// anew, or brought, and where to. What may not be pinned any more is cut off; if that is
// all, the error says why. Nothing has changed by then. With mu.
func (c *Cache) planPins(l *Lease) error {
	p := &pinPlan{
		pool: l.pool, l: l, n: l.pool.pins.all.n, held: l.pool.pins.held, frames: l.pool.pins.frames,
		beside: make(map[*class]int), open: make(map[*class]int),
	}
	f := p.files[l.ask.key]
	if f == nil || f.pins == 0 {
		share, err := c.pinFiles.Take(p.user(), 1)
		if err != nil {
			return err
		}
		share.Leave()
	}
	l.classes = l.classes[:0]
	for i := range l.parts {
		err := p.part(c, f, i)
		switch {
		case err != nil && i == 0:
			return err
		case err != nil:
			l.cut(i)
			l.spans = p.spans
			return nil
		}
	}
	l.spans = p.spans
	return nil
}

// cut leaves the i'th part and those after it to the next lease.
func (l *Lease) cut(i int) {
	l.ask.end = l.segs[i].FileOff
	l.ask.next = l.ask.end
	clear(l.parts[i:])
	l.parts, l.segs = l.parts[:i], l.segs[:i]
}

// part plans one.
func (p *pinPlan) part(c *Cache, f *file, i int) error {
	e, s := p.l.parts[i], p.l.segs[i].span()
	switch {
	case e == nil || slices.Contains(p.l.evicts, e):
		return p.bring(i, s)
	case e.state != resident || f.pinned(c.extentBits, s):
		return nil
	case e.frame.pins > 0 || slices.Contains(p.opened, e.frame):
		return p.stays(e)
	}
	anew := e.goes() && f.coming(&p.l.ask, s) == nil
	own := p.pool.frames.classOf(s.len())
	if anew && p.hasSlot(own) || !p.mayOpen(e.frame.class) && (anew || p.frames >= p.pinFrames()) {
		if !anew {
			return p.errPinFrames()
		}
		if err := p.bring(i, s); err != nil {
			return err
		}
		p.l.evicts = append(p.l.evicts, e)
		return nil
	}
	return p.stays(e)
}

// stays has a resident extent pinned where it is.
func (p *pinPlan) stays(e *extent) error {
	cl := e.frame.class
	if err := p.charge(cl); err != nil {
		return err
	}
	slot := 0 // that the others can't have any more
	if e.goes() {
		slot = 1
	}
	switch {
	case e.frame.pins > 0:
		p.beside[cl] += slot
	case slices.Contains(p.opened, e.frame):
		p.open[cl] -= slot
	default:
		p.frames++
		p.opened = append(p.opened, e.frame)
		p.open[cl] += cl.slots - e.frame.held - slot
	}
	return nil
}

// bring has the i'th part fetched, and its slot be of the class for that.
func (p *pinPlan) bring(i int, s span) error {
	cl := p.classFor(s.len())
	if cl == nil {
		return p.errPinFrames()
	}
	if err := p.charge(cl); err != nil {
		return err
	}
	switch {
	case cl.hasBeside(p.beside[cl]):
		p.beside[cl]++
	case p.open[cl] > 0:
		p.open[cl]--
	default:
		p.frames++
		p.open[cl] += cl.slots - 1
	}
	p.l.parts[i] = nil
	p.l.classes = append(p.l.classes, cl)
	p.spans = append(p.spans, s)
	return nil
}

// charge counts a pin of a slot of that class.
func (p *pinPlan) charge(cl *class) error {
	if err := p.admitPins(p.n+1, p.held+cl.size); err != nil {
		return err
	}
	p.n++
	p.held += cl.size
	return nil
}

// classFor is the class for n bytes: their own, or a larger one that has a slot in a
// frame with pins, or the largest, where another frame with pins of their own would
// leave too few; nil if there is none.
func (p *pinPlan) classFor(n int64) *class {
	fs := &p.pool.frames
	if own := fs.classOf(n); p.hasSlot(own) || p.mayOpen(own) {
		return own
	}
	for i := fs.number(n) + 1; i < len(fs.classes); i++ {
		if cl := &fs.classes[i]; p.hasSlot(cl) {
			return cl
		}
	}
	if p.frames < p.pinFrames() {
		return &fs.classes[len(fs.classes)-1]
	}
	return nil
}

// hasSlot reports whether a frame with pins has a slot of that class to give.
func (p *pinPlan) hasSlot(cl *class) bool { return p.open[cl] > 0 || cl.hasBeside(p.beside[cl]) }

// mayOpen reports whether one more frame, of that class, may have pins: those that are
// left must do for all that the budget allows beside, in the largest slots.
func (p *pinPlan) mayOpen(cl *class) bool {
	fs := &p.pool.frames
	largest := &fs.classes[len(fs.classes)-1]
	more := int(max(0, p.pinBudget()-p.held-cl.size) / largest.size)
	return p.frames+1+(more+largest.slots-1)/largest.slots <= p.pinFrames()
}

// hasBeside reports whether frames of the class that have pins have more slots than n
// that are free or can be made so.
func (cl *class) hasBeside(n int) bool {
	for at := cl.pinned.first; at != nil; at = at.next {
		if n -= cl.slots - at.value.held; n < 0 {
			return true
		}
	}
	return false
}

// slotBeside returns a frame of that class with pins, or one that the lease gave some,
// and a free slot that is there or made by eviction; nil if there is none, or the lease
// is no Pin's. With mu.
func (c *Cache) slotBeside(l *Lease, cl *class) *frame {
	if l.ask.access != pinning {
		return nil
	}
	f := cl.pinned.front()
	if f == nil {
		i := slices.IndexFunc(l.opened, func(f *frame) bool { return f.class == cl && f.held < cl.slots })
		if i < 0 {
			return nil
		}
		f = l.opened[i]
	}
	if f.used == cl.slots {
		c.evict(f.goner())
	}
	return f
}
