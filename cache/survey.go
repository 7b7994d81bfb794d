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
		if p.pins.held > 0 {
			unpin = fmt.Sprintf(", unpin some of the %d bytes that pins of uid %d hold", p.pins.held, p.dom.UID)
		}
		return fmt.Errorf("%s: %w: ask for less%s or enlarge the pool of %d frames of %d bytes", what, errTooLarge, unpin, len(p.frames.all), p.frames.size)
	case missing > 0:
		return fmt.Errorf("%s: %w: %d frames of %d bytes more are needed; release leases, unpin files or enlarge the pool", what, ErrNoSpace, missing, p.frames.size)
	}
	return fmt.Errorf("%s: %w: what is not is for the %d that wait for room; wait too, or release leases", what, ErrNoSpace, p.queue.n)
}

// tooLarge reports whether what was surveyed, and did not fit, would not fit either if
// nothing but its own extents was held, and what is pinned for longer than it may wait.
// With mu.
func (l *Lease) tooLarge() bool {
	p := l.pool
	held, own := make(map[*frame]int), make(map[*extent]bool)
	for i := 0; len(held) < p.pins.frames; i++ {
		if f := &p.frames.all[i]; f.pins > 0 {
			held[f] = f.pins
		}
	}
	for _, e := range l.parts {
		if e == nil || own[e] {
			continue
		}
		own[e] = true
		if e.pin == nil {
			held[e.frame]++
		}
	}
	if p.frames.fitBeside(held) {
		return false
	}
	for n := p.pins.all.first; n != nil; n = n.next {
		if e := n.value.e; !own[e] && !outlasts(n.value.until, l.ask.until) {
			if held[e.frame]--; held[e.frame] == 0 {
				delete(held, e.frame)
			}
		}
	}
	return !p.frames.fitBeside(held)
}

// fitBeside reports whether what the lease being planned needs would fit if only that
// many slots of frames were held.
func (fs *frames) fitBeside(held map[*frame]int) bool {
	free, room := len(fs.all)-len(held), make(map[*class]int)
	for f, n := range held {
		room[f.class] += f.class.slots - n
	}
	for _, cl := range fs.asked {
		if lacking := cl.need - room[cl]; lacking > 0 {
			free -= (lacking + cl.slots - 1) / cl.slots
		}
	}
	return free >= 0
}

// survey returns how many frames are missing for the extents that are not there,
// once those that are there are pinned. It changes nothing but what the lease needs.
// With mu.
func (l *Lease) survey() (missing int) {
	if len(l.spans) == 0 {
		return 0
	}
	taken := 0
	for _, e := range l.parts {
		if e != nil && e.goes() {
			if e.frame.held+e.frame.asked == 0 {
				taken++
			}
			e.frame.class.room += e.frame.holding()
			e.frame.asked++
		}
	}
	missing = taken + l.choose((*frames).place)
	if missing > 0 {
		missing = taken + l.choose((*frames).classOf)
	}
	for _, e := range l.parts {
		if e != nil && e.goes() {
			e.frame.asked--
			e.frame.class.room -= e.frame.holding()
		}
	}
	return missing
}

// choose gives the extents that are not there a class each, and returns how many
// frames are missing for that. With mu.
func (l *Lease) choose(place func(*frames, int64) *class) (missing int) {
	fs := &l.pool.frames
	fs.planned()
	if l.ask.access == pinning { // planPins has chosen
		for _, cl := range l.classes {
			fs.want(cl)
		}
		return -fs.slack()
	}
	l.classes = l.classes[:0]
	for _, s := range l.spans {
		cl := place(fs, s.len())
		fs.want(cl)
		l.classes = append(l.classes, cl)
	}
	return -fs.slack()
}
