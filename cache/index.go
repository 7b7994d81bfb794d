package cache

import (
	"cmp"
	"slices"
)

// span is bytes [from, to) of a file.
type span struct{ from, to int64 }

func (s span) len() int64 { return s.to - s.from }

func (s span) contains(o span) bool { return s.from <= o.from && o.to <= s.to }

func (s span) overlaps(o span) bool { return s.from < o.to && o.from < s.to }

// place is where in a file an extent is. The length is part of it, so that an
// extent can't be found by who expects more bytes than it has.
type place struct {
	file *file
	span
}

// block is one of the spans of Config.Extent bytes that a file is cut into.
type block struct {
	file   *file
	number int64
}

// odd is the extents that touch a block, but for the one that is all of it. An
// extent touches two at most.
type odd struct {
	spans   []oddSpan // by from, then by to
	longest int64     // of those that were ever in it
	filling []*extent
}

type oddSpan struct {
	span
	e *extent
}

// find returns an extent that has all of s, a resident one if there is one, or
// nil. With mu.
func (p *pool) find(f *file, a *ask, s span) *extent {
	first, one := a.block(s)
	var found *extent
	if one {
		if found = p.table[place{f, a.whole(first)}]; found.ready() {
			return found
		}
	}
	if e := p.table[place{f, s}]; e != nil {
		if found = e; e.ready() {
			return e
		}
	}
	if o := p.odd[block{f, first}]; o != nil {
		if e := o.find(s); e != nil && (found == nil || e.ready()) {
			return e
		}
	}
	return found
}

func (e *extent) ready() bool { return e != nil && e.state == resident }

// find returns an extent that has all of s, a resident one if there is one, or
// nil. With mu.
func (o *odd) find(s span) *extent {
	var found *extent
	for i := o.search(span{s.from + 1, 0}); i > 0 && o.spans[i-1].from+o.longest >= s.to; i-- {
		if e := o.spans[i-1].e; o.spans[i-1].contains(s) {
			if e.ready() {
				return e
			}
			found = e
		}
	}
	return found
}

// search returns the index of the first span that is s or comes after it.
func (o *odd) search(s span) int {
	i, _ := slices.BinarySearchFunc(o.spans, s, func(o oddSpan, s span) int {
		return cmp.Or(cmp.Compare(o.from, s.from), cmp.Compare(o.to, s.to))
	})
	return i
}

// coming returns the first filling extent that has a part of s, or nil. S is
// Config.Extent long at most. With mu.
func (p *pool) coming(f *file, a *ask, s span) *extent {
	var found *extent
	consider := func(e *extent) {
		if e.state == filling && e.span().overlaps(s) && (found == nil || e.req.Off < found.req.Off) {
			found = e
		}
	}
	first, one := a.block(s)
	for n := first; n == first || n == first+1 && !one; n++ {
		if e := p.table[place{f, a.whole(n)}]; e != nil {
			consider(e)
		}
		if o := p.odd[block{f, n}]; o != nil {
			for _, e := range o.filling {
				consider(e)
			}
		}
	}
	return found
}

// index enters an extent that can't be found by its block. With mu.
func (c *Cache) index(e *extent) {
	s := oddSpan{e.span(), e}
	for n := s.from >> c.extentBits; n <= (s.to-1)>>c.extentBits; n++ {
		o := e.pool.odd[block{e.file, n}]
		if o == nil {
			o = pop(&c.odds)
			e.pool.odd[block{e.file, n}] = o
		}
		o.longest = max(o.longest, s.len())
		o.spans = slices.Insert(o.spans, o.search(s.span), s)
		o.filling = append(o.filling, e)
	}
}

// unindex undoes index. With mu.
func (c *Cache) unindex(e *extent) {
	c.filled(e)
	s := e.span()
	for n := s.from >> c.extentBits; n <= (s.to-1)>>c.extentBits; n++ {
		o := e.pool.odd[block{e.file, n}]
		i := o.search(s)
		o.spans = slices.Delete(o.spans, i, i+1)
		if len(o.spans) == 0 {
			delete(e.pool.odd, block{e.file, n})
			o.longest = 0
			c.odds = append(c.odds, o)
		}
	}
}

// filled notes that an extent of the index is filling no more. With mu.
func (c *Cache) filled(e *extent) {
	s := e.span()
	for n := s.from >> c.extentBits; n <= (s.to-1)>>c.extentBits; n++ {
		o := e.pool.odd[block{e.file, n}]
		if i := slices.Index(o.filling, e); i >= 0 {
			o.filling = slices.Delete(o.filling, i, i+1)
		}
	}
}
