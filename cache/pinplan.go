package cache

import (
	"slices"

	"hbmfs/cache/index"
	"hbmfs/cache/slots"
)

// pinPlan is what of a lease being planned is pinned where it is, and what is brought.
type pinPlan struct {
	*pool
	l     *Lease
	n     int // pins, with those of the step
	plan  *slots.PinPlan
	spans []index.Span
}

// planPins decides for each part of a lease whether it is pinned where it is, fetched
// anew, or brought, and where to. What may not be pinned any more is cut off; if that is
// all, the error says why. Nothing has changed by then. With mu.
func (c *Cache) planPins(l *Lease) error {
	p := &pinPlan{pool: l.pool, l: l, n: l.pool.pins.all.Len(), plan: l.pool.memory.PlanPins()}
	f := p.files[l.ask.key]
	if f == nil || f.pins == 0 {
		share, err := c.pinFiles.Take(p.user(), 1)
		if err != nil {
			return err
		}
		share.Leave()
	}
	l.plan.Pins, l.plan.Classes = p.plan, l.plan.Classes[:0]
	for i := range l.parts {
		err := p.part(f, i)
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
func (p *pinPlan) part(f *file, i int) error {
	e, s := p.l.parts[i], p.l.segs[i].span()
	switch {
	case e == nil || slices.Contains(p.l.evicts, e):
		return p.bring(i, s)
	case e.state != resident || f.pinned(s):
		return nil
	}
	anew := e.goes() && f.coming(s) == nil
	switch p.plan.Where(&e.slot, s.Len(), anew) {
	case slots.Here:
		p.plan.Stay(&e.slot)
		return p.charge()
	case slots.Anew:
		if err := p.bring(i, s); err != nil {
			return err
		}
		p.l.evicts = append(p.l.evicts, e)
		return nil
	default:
		return p.errPinFrames()
	}
}

// bring has the i'th part fetched.
func (p *pinPlan) bring(i int, s index.Span) error {
	cl := p.plan.Bring(s.Len())
	if cl == nil {
		return p.errPinFrames()
	}
	if err := p.charge(); err != nil {
		return err
	}
	p.l.parts[i] = nil
	p.l.plan.Classes = append(p.l.plan.Classes, cl)
	p.spans = append(p.spans, s)
	return nil
}

// charge counts a pin that was planned.
func (p *pinPlan) charge() error {
	p.n++
	return p.admitPins(p.n, p.plan.Bytes())
}
