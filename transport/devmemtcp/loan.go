package devmemtcp

import (
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
	tokens   tokens
	once     sync.Once
}

func (l *loan) Segments() []transport.Span { return l.segments }
func (l *loan) Result() transport.Result   { return l.res }

// Return implements [transport.Loan].
func (l *loan) Return() {
	l.once.Do(func() {
		l.pair.giveBack(&l.tokens)
		l.pair.letGo()
		l.region.back(l.pages)
	})
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
	l.tokens.add(f.token)
	return true
}
