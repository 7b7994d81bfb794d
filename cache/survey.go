package cache

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
