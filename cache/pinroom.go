package cache

import (
	"cmp"
	"fmt"
	"math"

	"hbmfs/transport/limits"
)

// maxPins is how many extents a pool may have pinned.
var maxPins = 1 << 16

func newPinFiles(all int64) *limits.Limit {
	return limits.New(limits.Config{What: "files with pins", All: cmp.Or(all, math.MaxInt64), Remedy: "unpin some"})
}

// Pins may lie in pinFramesNum of pinFramesDen of a pool's frames, so that some are left
// that can become of any class.
const pinFramesNum, pinFramesDen = 3, 4

// PinBudget is how many bytes of memory the pins of one user may hold on a device.
func (d Device) PinBudget() int64 { return d.Pool / pinShare }

func (p *pool) pinBudget() int64 { return p.region.Size() / pinShare }

// pinsEverywhere reports whether no frame may get pins that has none.
func (p *pool) pinsEverywhere() bool {
	return p.pins.frames >= max(1, len(p.frames.all)*pinFramesNum/pinFramesDen)
}

// admitPin returns an error wrapping [ErrNoSpace] if e may not be pinned. With mu.
func (p *pool) admitPin(e *extent) error {
	if budget := p.pinBudget(); p.pins.held+e.frame.class.size > budget {
		return fmt.Errorf("%w: pins of uid %d hold %d bytes of the %d that they may; unpin some, or enlarge the pool",
			ErrNoSpace, p.dom.UID, p.pins.held, budget)
	}
	if p.pins.all.n >= maxPins {
		return fmt.Errorf("%w: uid %d has %d extents pinned, of the %d that he may; unpin some, or pin larger ranges",
			ErrNoSpace, p.dom.UID, p.pins.all.n, maxPins)
	}
	if e.frame.pins == 0 && p.pinsEverywhere() {
		return fmt.Errorf("%w: pins of uid %d lie in %d of %d frames; unpin some, or enlarge the pool",
			ErrNoSpace, p.dom.UID, p.pins.frames, len(p.frames.all))
	}
	return nil
}

// gather has what a Pin finds fetched anew where that lies in a frame that may not get
// pins, and all that it fetches put into those that have some. With mu.
func (c *Cache) gather(l *Lease) {
	p, a := l.pool, &l.ask
	a.gather = p.pinsEverywhere()
	if !a.gather {
		return
	}
	for _, e := range p.overlapping(c, a.key, span{a.off, a.end}) {
		if e.goes() && e.frame.pins == 0 {
			c.evict(e)
		}
	}
}

// slotBeside returns a frame of that class with pins, and a free slot that is there or
// made by eviction; nil if there is none, or it does not matter. With mu.
func (c *Cache) slotBeside(l *Lease, cl *class) *frame {
	if !l.ask.gather {
		return nil
	}
	for i := range l.pool.frames.all {
		f := &l.pool.frames.all[i]
		switch {
		case f.class != cl || f.pins == 0:
		case f.used < cl.slots:
			return f
		case f.held < f.used:
			c.evict(f.goner())
			return f
		}
	}
	return nil
}
