package cache

import "hbmfs/cache/index"

// cover cuts the range into parts: in extents that are there, or in new ones, of
// which spans says what they are to have. No byte that is under way comes a second
// time; what is resident does where that makes one piece of what would be several.
// With mu.
func (l *Lease) cover(limit int) {
	a := &l.ask
	var f *file
	if a.settled {
		f = l.pool.files[a.key]
	}
	all := index.Span{From: a.off, To: a.end}
	if f != nil && all.Len() <= 1<<a.bits {
		if e := f.find(all); e != nil {
			l.add(e, all, all)
			return
		}
	}
	for at := a.off; at < a.end; {
		if len(l.parts) == limit {
			a.end, a.next = at, at
			return
		}
		at = l.next(f, a.piece(at))
	}
}

// next adds a part that begins where s does, and ends there or before, and returns
// its end. With mu.
func (l *Lease) next(f *file, s index.Span) int64 {
	a := &l.ask
	if f != nil {
		e := f.find(s)
		if e == nil {
			if e = f.coming(s); e != nil && e.req.Off > s.From {
				s.To = e.req.Off
				e = f.find(s)
			}
		}
		if e != nil {
			return l.add(e, index.Span{From: s.From, To: min(s.To, e.span().To)}, index.Span{})
		}
	}
	fill := s
	if a.access == Run && a.settled {
		fill = f.widen(a, s)
	}
	return l.add(nil, s, fill)
}

// widen is as much of the block around s as is not under way already.
func (f *file) widen(a *ask, s index.Span) index.Span {
	number, _ := a.block(s)
	all := a.whole(number)
	if f == nil {
		return all
	}
	for e := f.coming(all); e != nil; e = f.coming(all) {
		if e.req.Off < s.From {
			all.From = e.span().To
		} else {
			all.To = e.req.Off
		}
	}
	return all
}

// add enters a part, of an extent or of what is to be one, and returns its end.
func (l *Lease) add(e *extent, s, fill index.Span) int64 {
	l.parts = append(l.parts, e)
	if e == nil {
		l.spans = append(l.spans, fill)
	}
	l.segs = append(l.segs, Segment{FileOff: s.From, Len: s.Len()})
	return s.To
}
