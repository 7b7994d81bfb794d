package loans

import (
	"errors"
	"slices"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// region is memory to lend to one user.
type region struct {
	lender *Lender
	mem    transport.LoanMemory
	dom    transport.Domain
	lent   atomic.Int64 // bytes of pages

	// Guarded by Lender.mu:
	bound  bool
	given  bool // its time is over: it is closed once nothing is lent
	closed bool
	used   int64 // by the lender's clock
}

// region returns memory of dom that nothing is lent of, for a queue to be bound
// to. It has the turn.
func (l *Lender) region(dom transport.Domain) (*region, error) {
	l.prune()
	if r := l.reuse(dom); r != nil {
		return r, nil
	}
	mem, err := l.cfg.Reserve(dom, l.cfg.Size.Total())
	if err != nil {
		return nil, err
	}
	if _, off, ok := mem.DMABuf(); !ok || off != 0 {
		return nil, errors.Join(errNoDMABuf, mem.Close())
	}
	r := &region{lender: l, mem: mem, dom: dom, bound: true}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.regions = append(l.regions, r)
	return r, nil
}

func (l *Lender) reuse(dom transport.Domain) *region {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.regions {
		if r.dom == dom && !r.bound && !r.given && !landing.Revoked(r.mem) {
			r.bound = true
			return r
		}
	}
	return nil
}

// prune gives regions back that are of no use, and the longest unused of those
// beyond spareRegions.
func (l *Lender) prune() {
	l.mu.Lock()
	var spare int
	var oldest *region
	var over []*region
	for _, r := range l.regions {
		switch {
		case r.bound:
		case landing.Revoked(r.mem):
			over = append(over, r)
		default:
			spare++
			if oldest == nil || r.used < oldest.used {
				oldest = r
			}
		}
	}
	if spare > spareRegions {
		over = append(over, oldest)
	}
	l.mu.Unlock()
	for _, r := range over {
		_ = r.giveUp() // memory that its owner can't take back is his to report
	}
}

// giveUp closes the region, once nothing of it is lent.
func (r *region) giveUp() error {
	r.lender.mu.Lock()
	r.given = true
	r.lender.mu.Unlock()
	return r.closeUnlent()
}

// closeUnlent closes a region whose time is over, if nothing of it is lent.
func (r *region) closeUnlent() error {
	l := r.lender
	l.mu.Lock()
	last := r.given && !r.closed && r.lent.Load() == 0
	if last {
		r.closed = true
		l.regions = slices.DeleteFunc(l.regions, func(other *region) bool { return other == r })
	}
	l.mu.Unlock()
	if !last {
		return nil
	}
	return r.mem.Close()
}

// take has n bytes more of the region be lent, if the budget allows.
func (r *region) take(n int64) bool {
	if r.lent.Add(n) <= r.lender.cfg.Size.Lent {
		return true
	}
	r.lent.Add(-n)
	return false
}

// left is how much may still be lent.
func (r *region) left() int64 { return r.lender.cfg.Size.Lent - r.lent.Load() }

// back undoes take.
func (r *region) back(n int64) {
	if r.lent.Add(-n) == 0 {
		_ = r.closeUnlent() // nobody is there to be told
	}
}
