package cache

import "fmt"

// fits returns nil if there is room for the extents that are not there, of which there
// are some, and nobody but q waits for room first: what another would take of it could
// be what keeps the first one waiting. Else the error wraps [ErrNoSpace]. With mu.
func (l *Lease) fits(q *queued) error {
	missing, p := l.survey(), l.pool
	first := p.queue.front()
	if missing <= 0 && (first == q || first == nil) {
		return nil
	}
	what := fmt.Sprintf("%d bytes at %d", l.ask.end-l.ask.off, l.ask.off)
	switch {
	case missing > 0 && l.tooLarge():
		return fmt.Errorf("%s: %w: ask for less or enlarge the pool of %d frames of %d bytes", what, errTooLarge, len(p.frames.all), p.frames.size)
	case missing > 0:
		return fmt.Errorf("%s: %w: %d frames of %d bytes more are needed; release leases, unpin files or enlarge the pool", what, ErrNoSpace, missing, p.frames.size)
	}
	return fmt.Errorf("%s: %w: what is not is for the %d that wait for room; wait too, or release leases", what, ErrNoSpace, p.queue.n)
}

// tooLarge reports whether what was surveyed, and did not fit, would not fit either
// if nothing but its own extents was held. With mu.
func (l *Lease) tooLarge() bool {
	fs := &l.pool.frames
	free, room, kept := len(fs.all), make(map[*class]int), make(map[any]bool)
	for _, e := range l.parts {
		if e == nil || kept[e] {
			continue
		}
		kept[e] = true
		if f := e.frame; !kept[f] {
			kept[f] = true
			free--
			room[f.class] += f.class.slots
		}
		room[e.frame.class]--
	}
	for _, cl := range fs.asked {
		if lacking := cl.need - room[cl]; lacking > 0 {
			free -= (lacking + cl.slots - 1) / cl.slots
		}
	}
	return free < 0
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
	l.classes = l.classes[:0]
	for _, s := range l.spans {
		cl := place(fs, s.len())
		fs.want(cl)
		l.classes = append(l.classes, cl)
	}
	return -fs.slack()
}
