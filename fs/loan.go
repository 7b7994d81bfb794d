package fs

import (
	"context"
	"fmt"

	"hbmfs/cache"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// loan is what a transport lends: payload where the NIC put it.
type loan struct {
	transport.Loan
	count    *counters
	segments []cache.Segment
	covered  int64
	next     int64
}

// borrow asks for a loan of bytes [off, end) of the file. The error wraps
// [transport.ErrNoLoan] if the mount can't lend.
func (h *handle) borrow(ctx context.Context, dom transport.Domain, off, end int64, limit int) (*loan, error) {
	lent, err := h.src.file.Borrow(ctx, dom, off, end-off, limit)
	if err != nil {
		return nil, err
	}
	l, err := newLoan(lent, dom, off, end, limit)
	if err != nil {
		lent.Return()
		return nil, err
	}
	l.grant(&h.n.t.count)
	return l, nil
}

// newLoan checks what a transport lent: nobody is told of memory that is not the
// domain's own.
func newLoan(lent transport.Loan, dom transport.Domain, off, end int64, limit int) (*loan, error) {
	spans, res := lent.Segments(), lent.Result()
	l := &loan{Loan: lent, segments: make([]cache.Segment, 0, len(spans))}
	for _, s := range spans {
		region, ok := s.Mem.(*cache.Reserved)
		if !ok || region.Domain() != dom || s.Check() != nil || s.Len == 0 {
			return nil, fmt.Errorf("%w: %d bytes were lent that are not in memory reserved for uid %d", transport.ErrProtocol, s.Len, dom.UID)
		}
		l.segments = append(l.segments, cache.Segment{
			Region: region.ID(), RegionOff: s.Off, FileOff: off + l.covered, Len: s.Len, Path: res.Path, Why: res.Why,
		})
		l.covered += s.Len
	}
	if l.covered < 1 || l.covered > end-off || len(spans) > limit {
		return nil, fmt.Errorf("%w: %d bytes in %d segments were lent, asked for %d in %d", transport.ErrProtocol, l.covered, len(spans), end-off, limit)
	}
	if off+l.covered < end {
		l.next = off + l.covered
	}
	return l, nil
}

// grant counts the loan, until Release.
func (l *loan) grant(count *counters) {
	l.count = count
	count.loans.Add(1)
	count.loanBytes.Add(l.covered)
	count.held.Add(1)
	count.heldBytes.Add(l.covered)
}

func (l *loan) Segments() []cache.Segment { return l.segments }
func (l *loan) Covered() int64            { return l.covered }
func (l *loan) Next() int64               { return l.next }
func (l *loan) Path() uapi.Path           { return l.Result().Path }
func (l *loan) Why() uapi.Reason          { return l.Result().Why }

// Release gives the memory back.
func (l *loan) Release() {
	l.Return()
	l.count.held.Add(-1)
	l.count.heldBytes.Add(-l.covered)
}
