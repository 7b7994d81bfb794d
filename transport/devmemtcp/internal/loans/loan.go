package loans

import (
	"cmp"
	"slices"
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
)

// Loan is fragments of one payload that are lent: a [transport.Loan].
type Loan struct {
	pair     *pair
	region   *region
	segments []transport.Span
	covered  int64
	pages    int64 // of the region, in bytes
	res      transport.Result
	kept     []receive.Part
	once     sync.Once
}

// Segments implements [transport.Loan].
func (l *Loan) Segments() []transport.Span { return l.segments }

// Result implements [transport.Loan].
func (l *Loan) Result() transport.Result { return l.res }

// Len is how many bytes are lent.
func (l *Loan) Len() int64 { return l.covered }

// Return implements [transport.Loan].
func (l *Loan) Return() {
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
func (l *Loan) tokens() *receive.Tokens {
	slices.SortFunc(l.kept, func(a, b receive.Part) int { return cmp.Compare(b.Off, a.Off) })
	t := new(receive.Tokens)
	t.AddParts(l.kept)
	return t
}

// pages is how much of the budget a fragment takes: all of the pages that it lies
// in.
func pages(f receive.Part) int64 { return (f.Len + pageSize - 1) / pageSize * pageSize }

// add lends a fragment, and reports false if that would take more segments than
// limit.
func (l *Loan) add(f receive.Part, limit int) bool {
	last := len(l.segments) - 1
	merges := last >= 0 && l.segments[last].Off+l.segments[last].Len == f.Off
	switch {
	case merges:
		l.segments[last].Len += f.Len
	case len(l.segments) == limit:
		return false
	default:
		l.segments = append(l.segments, transport.Span{Mem: l.region.mem, Off: f.Off, Len: f.Len})
	}
	l.covered += f.Len
	l.pages += pages(f)
	l.kept = append(l.kept, f)
	return true
}
