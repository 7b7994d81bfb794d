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

// block is the extents that touch one of the spans of Config.Extent bytes that a file
// is cut into: the one that is all of it, and others. An extent touches two at most.
type block struct {
	whole   *extent
	odd     []oddSpan // by from, then by to
	longest int64     // of odd, and of what was in it
	filling []*extent // of odd
}

type oddSpan struct {
	span
	e *extent
}

// block returns the block of a number, nil if no extent touches it.
func (f *file) block(number int64) *block {
	if number == 0 {
		return &f.first
	}
	return f.more[number]
}

// find returns an extent that has all of s, a resident one if there is one, or
// nil. With mu.
func (f *file) find(a *ask, s span) *extent {
	number, one := a.block(s)
	b := f.block(number)
	if b == nil {
		return nil
	}
	if !one || b.whole == nil || !b.whole.span().contains(s) {
		return b.find(s)
	}
	if b.whole.state != resident {
		if e := b.find(s); e != nil && e.state == resident {
			return e
		}
	}
	return b.whole
}

// find is that of a file, among the odd ones.
func (b *block) find(s span) *extent {
	var found *extent
	for i := b.search(span{s.from + 1, 0}); i > 0 && b.odd[i-1].from+b.longest >= s.to; i-- {
		if o := b.odd[i-1]; o.contains(s) {
			if found = o.e; found.state == resident {
				break
			}
		}
	}
	return found
}

// search returns the index of the first odd one that is s or comes after it.
func (b *block) search(s span) int {
	i, _ := slices.BinarySearchFunc(b.odd, s, func(o oddSpan, s span) int {
		return cmp.Or(cmp.Compare(o.from, s.from), cmp.Compare(o.to, s.to))
	})
	return i
}

// overlapping returns the extents that have a byte of s. With mu.
func (f *file) overlapping(bits int, s span) (all []*extent) {
	first, last := s.from>>bits, (s.to-1)>>bits
	if last-first >= int64(f.extents.n) {
		for n := f.extents.first; n != nil; n = n.next {
			if n.value.span().overlaps(s) {
				all = append(all, n.value)
			}
		}
		return all
	}
	for n := first; n <= last; n++ {
		b := f.block(n)
		if b == nil {
			continue
		}
		if b.whole != nil && b.whole.span().overlaps(s) {
			all = append(all, b.whole)
		}
		for _, o := range b.odd[b.search(span{s.from - b.longest, 0}):] {
			if o.from >= s.to {
				break
			}
			begins := n == first || o.from>>bits == n // or else it was in the block before
			if begins && o.overlaps(s) {
				all = append(all, o.e)
			}
		}
	}
	return all
}

// at returns the extent that is just s, or nil. With mu.
func (f *file) at(bits int, s span) *extent {
	b := f.block(s.from >> bits)
	if b == nil {
		return nil
	}
	if b.whole != nil && b.whole.span() == s {
		return b.whole
	}
	if i := b.search(s); i < len(b.odd) && b.odd[i].span == s {
		return b.odd[i].e
	}
	return nil
}

// overlapping is that of a file, by its key. With mu.
func (p *pool) overlapping(c *Cache, key FileKey, s span) []*extent {
	f := p.files[key]
	if f == nil || s.len() <= 0 {
		return nil
	}
	return f.overlapping(c.extentBits, s)
}

// coming returns the first filling extent that has a part of s, or nil. S is
// Config.Extent long at most. With mu.
func (f *file) coming(a *ask, s span) *extent {
	number, one := a.block(s)
	found := f.block(number).coming(s)
	if one {
		return found
	}
	if e := f.block(number + 1).coming(s); found == nil || e != nil && e.req.Off < found.req.Off {
		return e
	}
	return found
}

func (b *block) coming(s span) (found *extent) {
	if b == nil {
		return nil
	}
	if e := b.whole; e != nil && e.state == filling && e.span().overlaps(s) {
		found = e
	}
	for _, e := range b.filling {
		if e.span().overlaps(s) && (found == nil || e.req.Off < found.req.Off) {
			found = e
		}
	}
	return found
}

// index enters an extent where it is found. With mu.
func (c *Cache) index(e *extent, whole bool) {
	s := oddSpan{e.span(), e}
	for n := s.from >> c.extentBits; n <= (s.to-1)>>c.extentBits; n++ {
		b := c.makeBlock(e.file, n)
		if e.whole = whole && b.whole == nil; e.whole {
			b.whole = e
			return
		}
		b.longest = max(b.longest, s.len())
		b.odd = slices.Insert(b.odd, b.search(s.span), s)
		b.filling = append(b.filling, e)
	}
}

func (c *Cache) makeBlock(f *file, number int64) *block {
	b := f.block(number)
	if b == nil {
		if f.more == nil {
			f.more = make(map[int64]*block)
		}
		b = pop(&c.blocks)
		f.more[number] = b
	}
	return b
}

// unindex undoes index. With mu.
func (c *Cache) unindex(e *extent) {
	if e.state != resident {
		c.filled(e)
	}
	s := e.span()
	for n := s.from >> c.extentBits; n <= (s.to-1)>>c.extentBits; n++ {
		b := e.file.block(n)
		if e.whole {
			b.whole = nil
		} else {
			i := b.search(s)
			b.odd = slices.Delete(b.odd, i, i+1)
		}
		if len(b.odd) == 0 {
			b.longest = 0
		}
		if len(b.odd) == 0 && b.whole == nil && n != 0 {
			delete(e.file.more, n)
			c.blocks = append(c.blocks, b)
		}
	}
}

// unindexAll undoes index for all extents of a file. With mu.
func (c *Cache) unindexAll(f *file) {
	f.first.clear()
	for _, b := range f.more {
		b.clear()
		c.blocks = append(c.blocks, b)
	}
	clear(f.more)
}

func (b *block) clear() {
	clear(b.odd)
	clear(b.filling)
	*b = block{odd: b.odd[:0], filling: b.filling[:0]}
}

// filled notes that an extent of the index is filling no more. With mu.
func (c *Cache) filled(e *extent) {
	if e.whole {
		return
	}
	s := e.span()
	for n := s.from >> c.extentBits; n <= (s.to-1)>>c.extentBits; n++ {
		b := e.file.block(n)
		if i := slices.Index(b.filling, e); i >= 0 {
			b.filling = slices.Delete(b.filling, i, i+1)
		}
	}
}
