package devmemtcp

import (
	"cmp"
	"slices"
	"sync"

	"hbmfs/transport"
)

// loan is fragments of one payload that are lent.
type loan struct {
	pair     *lendPair
	region   *lendRegion
	segments []transport.Span
	covered  int64
	pages    int64 // of the region, in bytes
	res      transport.Result
	kept     []fragment
	once     sync.Once
}

func (l *loan) Segments() []transport.Span { return l.segments }
func (l *loan) Result() transport.Result   { return l.res }

// Return implements [transport.Loan].
func (l *loan) Return() {
	l.once.Do(func() {
		l.pair.giveBack(l.tokens())
		l.pair.letGo()
		l.region.back(l.pages)
	})
}

// tokens are the loan's, the highest page's first. The pool that the NIC takes
// pages from hands out the last of 64 first (page_pool_refill_alloc_cache of
// net/core/page_pool.c): so what is given back downwards comes again upwards, and
// neighbours make one segment.
func (l *loan) tokens() *tokens {
	slices.SortFunc(l.kept, func(a, b fragment) int { return cmp.Compare(b.off, a.off) })
	t := &tokens{ranges: make([]tokenRange, 0, len(l.kept))}
	for _, f := range l.kept {
		t.add(f.token)
	}
	return t
}

// pages is how much of the budget a fragment takes: all of the pages that it lies
// in.
func (f fragment) pages() int64 { return (f.n + pageSize - 1) / pageSize * pageSize }

// add lends a fragment, and reports false if that would take more segments than
// limit.
func (l *loan) add(f fragment, limit int) bool {
	last := len(l.segments) - 1
	merges := last >= 0 && l.segments[last].Off+l.segments[last].Len == f.off
	switch {
	case merges:
		l.segments[last].Len += f.n
	case len(l.segments) == limit:
		return false
	default:
		l.segments = append(l.segments, transport.Span{Mem: l.region.mem, Off: f.off, Len: f.n})
	}
	l.covered += f.n
	l.pages += f.pages()
	l.kept = append(l.kept, f)
	return true
}
