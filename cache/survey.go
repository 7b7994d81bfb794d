package cache

import "fmt"

// fits returns nil if there is room for the extents that are not there, of which there
// are some, and it is not kept for another than q. Else the error wraps [ErrNoSpace].
// With mu.
func (l *Lease) fits(q *queued) error {
	kept := l.cache.keeps(l.pool, q)
	missing, p := l.survey(), l.pool
	if missing <= 0 && !kept {
		return nil
	}
	what := fmt.Sprintf("%d bytes at %d", l.ask.end-l.ask.off, l.ask.off)
	switch {
	case missing > 0 && l.tooLarge():
		unpin := ""
		if held := p.memory.PinnedBytes(); held > 0 {
			unpin = fmt.Sprintf(", unpin some of the %d bytes that pins of uid %d hold", held, p.dom.UID)
		}
		return fmt.Errorf("%s: %w: ask for less%s or enlarge the pool of %d frames of %d bytes", what, errTooLarge, unpin, p.memory.Frames(), p.memory.FrameSize())
	case missing > 0:
		return fmt.Errorf("%s: %w: %d frames of %d bytes more are needed; release leases, unpin files or enlarge the pool", what, ErrNoSpace, missing, p.memory.FrameSize())
	}
	return fmt.Errorf("%s: %w: what is not is for the %d that wait for room; wait too, or release leases", what, ErrNoSpace, p.queue.Len())
}

// tooLarge reports whether what was surveyed, and did not fit, would not fit either if
// nothing but its own extents was held, and what is pinned for longer than it may wait.
// With mu.
func (l *Lease) tooLarge() bool {
	p := l.pool
	held, own := p.memory.Pinned(), make(map[*extent]bool)
	for _, e := range l.parts {
		if e == nil || own[e] {
			continue
		}
		own[e] = true
		if e.pin == nil {
			held.Add(&e.slot)
		}
	}
	if p.memory.FitsBeside(held) {
		return false
	}
	for n := p.pins.all.First(); n != nil; n = n.Next() {
		if e := n.Value.e; !own[e] && !outlasts(n.Value.until, l.ask.until) {
			held.Remove(&e.slot)
		}
	}
	return !p.memory.FitsBeside(held)
}

// survey returns how many frames are missing for the extents that are not there,
// once those that are there are pinned. It changes nothing but what the lease needs.
// With mu.
func (l *Lease) survey() (missing int) {
	if len(l.spans) == 0 {
		return 0
	}
	p := &l.plan
	p.Held, p.Sizes = p.Held[:0], p.Sizes[:0]
	for _, e := range l.parts {
		if e != nil && e.goes() {
			p.Held = append(p.Held, &e.slot)
		}
	}
	for _, s := range l.spans {
		p.Sizes = append(p.Sizes, s.Len())
	}
	return l.pool.memory.Survey(p)
}
