package index

import (
	"fmt"
	"slices"
)

// Check returns what of all that the file keeps twice does not agree. It looks at
// everything: it is for tests.
func (f *File) Check() error {
	for number, b := range f.more {
		if b.whole == nil && len(b.odd) == 0 || number == 0 {
			return fmt.Errorf("block %d is kept for nothing", number)
		}
	}
	touched := 0
	for n := f.all.First(); n != nil; n = n.Next() {
		e := n.Value
		first, last := f.blocks.of(e.Span)
		for number := first; number <= last; number++ {
			if !f.block(number).has(e) {
				return fmt.Errorf("%v is not in block %d as it should be", e.Span, number)
			}
			touched++
		}
	}
	if n := f.inBlocks(); n != touched {
		return fmt.Errorf("entries touch %d blocks, and are %d times in those", touched, n)
	}
	return nil
}

// has reports whether e is in the block as it should be, if it touches it.
func (b *block) has(e *Entry) bool {
	return b != nil && e.whole == (b.whole == e) && e.whole != slices.Contains(b.odd, odd{e.Span, e}) &&
		slices.Contains(b.coming, e) == (e.coming && !e.whole) && (e.whole || b.longest >= e.Len())
}

// inBlocks counts what is in blocks.
func (f *File) inBlocks() (n int) {
	count := func(b *block) {
		if n += len(b.odd); b.whole != nil {
			n++
		}
	}
	count(&f.first)
	for _, b := range f.more {
		count(b)
	}
	return n
}
