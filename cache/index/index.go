// Package index says which of a cache's things have which bytes of a file. It owns the
// spans of things and where they are found; it never knows what they are, but for
// whether their bytes are there or still coming.
//
// A file is cut into blocks of a size. A thing is at most as long as that, so that it
// touches two blocks at most, and is looked for in those. It may be all of a block, of
// which there is one; others are odd, and may overlap.
//
// Locking: none. Files and their entries are guarded by their user.
package index

import (
	"cmp"
	"slices"

	"hbmfs/cache/internal/list"
)

// Span is bytes [From, To) of a file.
type Span struct{ From, To int64 }

// Len is how many bytes that is.
func (s Span) Len() int64 { return s.To - s.From }

// Contains reports whether all of o is in s.
func (s Span) Contains(o Span) bool { return s.From <= o.From && o.To <= s.To }

// Overlaps reports whether a byte is in both.
func (s Span) Overlaps(o Span) bool { return s.From < o.To && o.From < s.To }

// Entry is a thing's place in a file, or in none.
type Entry struct {
	Span
	Tag any // its user's

	whole  bool // it is all of its block, and found as that
	coming bool
	inFile list.Node[Entry]
}

// IsComing reports whether its bytes are coming still.
func (e *Entry) IsComing() bool { return e.coming }

// Blocks are what many files are cut into.
type Blocks struct {
	bits int      // log2 of the size
	free []*block // in no file
}

// Init sets the size of blocks: 1<<bits bytes.
func (b *Blocks) Init(bits int) { b.bits = bits }

// File is the entries of one.
type File struct {
	blocks *Blocks
	all    list.List[Entry]
	first  block            // number 0
	more   map[int64]*block // the others that entries touch, by their number
}

// Init has an empty File use these blocks.
func (f *File) Init(b *Blocks) { f.blocks = b }

// block is the entries that touch one block of a file: the one that is all of it, and
// others.
type block struct {
	whole   *Entry
	odd     []odd    // by From, then by To
	longest int64    // of odd, and of what was in it
	coming  []*Entry // of odd
}

type odd struct {
	Span
	e *Entry
}

// Len is how many entries there are.
func (f *File) Len() int { return f.all.Len() }

// First is the node of the oldest entry in the list of all, or nil.
func (f *File) First() *list.Node[Entry] { return f.all.First() }

// block returns the block of a number, nil if no entry touches it.
func (f *File) block(number int64) *block {
	if number == 0 {
		return &f.first
	}
	return f.more[number]
}

// of returns the first and the last block that s touches.
func (b *Blocks) of(s Span) (first, last int64) { return s.From >> b.bits, (s.To - 1) >> b.bits }

// Find returns an entry that has all of s, one whose bytes are there if there is such,
// or nil. S is as long as a block at most.
func (f *File) Find(s Span) *Entry {
	first, last := f.blocks.of(s)
	b := f.block(first)
	if b == nil {
		return nil
	}
	if first != last || b.whole == nil || !b.whole.Contains(s) {
		return b.find(s)
	}
	if b.whole.coming {
		if e := b.find(s); e != nil && !e.coming {
			return e
		}
	}
	return b.whole
}

// find is that of a file, among the odd ones.
func (b *block) find(s Span) *Entry {
	var found *Entry
	for i := b.search(Span{s.From + 1, 0}); i > 0 && b.odd[i-1].From+b.longest >= s.To; i-- {
		if o := b.odd[i-1]; o.Contains(s) {
			if found = o.e; !found.coming {
				break
			}
		}
	}
	return found
}

// search returns the index of the first odd one that is s or comes after it.
func (b *block) search(s Span) int {
	i, _ := slices.BinarySearchFunc(b.odd, s, func(o odd, s Span) int {
		return cmp.Or(cmp.Compare(o.From, s.From), cmp.Compare(o.To, s.To))
	})
	return i
}

// Overlapping returns the entries that have a byte of s.
func (f *File) Overlapping(s Span) (found []*Entry) {
	if s.Len() <= 0 {
		return nil
	}
	first, last := f.blocks.of(s)
	if last-first >= int64(f.all.Len()) {
		for n := f.all.First(); n != nil; n = n.Next() {
			if n.Value.Overlaps(s) {
				found = append(found, n.Value)
			}
		}
		return found
	}
	for n := first; n <= last; n++ {
		b := f.block(n)
		if b == nil {
			continue
		}
		if b.whole != nil && b.whole.Overlaps(s) {
			found = append(found, b.whole)
		}
		for _, o := range b.odd[b.search(Span{s.From - b.longest, 0}):] {
			if o.From >= s.To {
				break
			}
			begins := n == first || o.From>>f.blocks.bits == n // or else it was in the block before
			if begins && o.Overlaps(s) {
				found = append(found, o.e)
			}
		}
	}
	return found
}

// At returns the entry that is just s, or nil.
func (f *File) At(s Span) *Entry {
	first, _ := f.blocks.of(s)
	b := f.block(first)
	if b == nil {
		return nil
	}
	if b.whole != nil && b.whole.Span == s {
		return b.whole
	}
	if i := b.search(s); i < len(b.odd) && b.odd[i].Span == s {
		return b.odd[i].e
	}
	return nil
}

// Coming returns the first entry that has a part of s and whose bytes are coming, or nil.
// S is as long as a block at most.
func (f *File) Coming(s Span) *Entry {
	first, last := f.blocks.of(s)
	found := f.block(first).firstComing(s)
	if first == last {
		return found
	}
	if e := f.block(last).firstComing(s); found == nil || e != nil && e.From < found.From {
		return e
	}
	return found
}

func (b *block) firstComing(s Span) (found *Entry) {
	if b == nil {
		return nil
	}
	if e := b.whole; e != nil && e.coming && e.Overlaps(s) {
		found = e
	}
	for _, e := range b.coming {
		if e.Overlaps(s) && (found == nil || e.From < found.From) {
			found = e
		}
	}
	return found
}

// Add enters what is in no file, and whose bytes are coming. Whole says that its span is
// a block of the file.
func (f *File) Add(e *Entry, whole bool) {
	e.coming, e.inFile.Value = true, e
	e.inFile.MoveTo(&f.all)
	s := odd{e.Span, e}
	first, last := f.blocks.of(e.Span)
	for n := first; n <= last; n++ {
		b := f.makeBlock(n)
		if e.whole = whole && b.whole == nil; e.whole {
			b.whole = e
			return
		}
		b.longest = max(b.longest, s.Len())
		b.odd = slices.Insert(b.odd, b.search(s.Span), s)
		b.coming = append(b.coming, e)
	}
}

func (f *File) makeBlock(number int64) *block {
	b := f.block(number)
	if b == nil {
		if f.more == nil {
			f.more = make(map[int64]*block)
		}
		b = f.blocks.take()
		f.more[number] = b
	}
	return b
}

// take takes a block that is in no file, or makes one.
func (b *Blocks) take() *block {
	last := len(b.free) - 1
	if last < 0 {
		return new(block)
	}
	one := b.free[last]
	b.free = b.free[:last]
	return one
}

// Came says that the bytes of e are there.
func (f *File) Came(e *Entry) {
	if e.coming = false; e.whole {
		return
	}
	first, last := f.blocks.of(e.Span)
	for n := first; n <= last; n++ {
		b := f.block(n)
		if i := slices.Index(b.coming, e); i >= 0 {
			b.coming = slices.Delete(b.coming, i, i+1)
		}
	}
}

// Remove undoes Add.
func (f *File) Remove(e *Entry) {
	if e.coming {
		f.Came(e)
	}
	e.inFile.MoveTo(nil)
	first, last := f.blocks.of(e.Span)
	for n := first; n <= last; n++ {
		b := f.block(n)
		if e.whole {
			b.whole = nil
		} else {
			i := b.search(e.Span)
			b.odd = slices.Delete(b.odd, i, i+1)
		}
		if len(b.odd) == 0 {
			b.longest = 0
		}
		if len(b.odd) == 0 && b.whole == nil && n != 0 {
			delete(f.more, n)
			f.blocks.free = append(f.blocks.free, b)
		}
	}
}

// Clear removes all entries, and calls each with every one once none is found any more.
func (f *File) Clear(each func(*Entry)) {
	f.first.clear()
	for _, b := range f.more {
		b.clear()
		f.blocks.free = append(f.blocks.free, b)
	}
	clear(f.more)
	for e := f.all.Front(); e != nil; e = f.all.Front() {
		e.inFile.MoveTo(nil)
		each(e)
	}
}

func (b *block) clear() {
	clear(b.odd)
	clear(b.coming)
	*b = block{odd: b.odd[:0], coming: b.coming[:0]}
}
