package loans

import (
	"context"
	"errors"
	"slices"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
)

// tenancy is a queue's time with one user.
type tenancy struct {
	lender *Lender
	region *region
	queue  receive.Queue
	slots  chan struct{} // as many as there may be pairs at work

	// Guarded by Lender.mu:
	borrowers int
	pairs     []*pair // that are not at an end, in the order of their latest use
	fragment  int64   // what the latest payloads came in: bytes a fragment,
	segment   int64   // and bytes a segment
}

// newTenancy is one with a borrower.
func newTenancy(l *Lender, r *region, q receive.Queue) *tenancy {
	return &tenancy{
		lender: l, region: r, queue: q, slots: make(chan struct{}, pairsPerUser),
		borrowers: 1, fragment: pageSize, segment: pageSize,
	}
}

// leave undoes [Lender.enter].
func (t *tenancy) leave(link Link) {
	l := t.lender
	defer link.Leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.borrowers--
	l.clock++
	t.region.used = l.clock
}

// end closes the pairs of a tenancy that nobody borrows in, and unbinds the
// queue. Nil has nothing to end.
func (t *tenancy) end() error {
	if t == nil {
		return nil
	}
	t.drop(nil, errVacated, true)
	err := t.queue.Binding.Close()
	t.lender.mu.Lock()
	defer t.lender.mu.Unlock()
	t.region.bound = false
	return err
}

// acquire returns a pair for one borrower, who has one of the slots.
func (t *tenancy) acquire(ctx context.Context, link Link) (*pair, error) {
	for {
		p := t.pop(link)
		if p == nil {
			return t.connect(ctx, link)
		}
		if p.broken() == nil {
			return p, nil
		}
		p.retire()
	}
}

// pop takes the pair of a link that was used last of those that nobody uses, nil
// for none.
func (t *tenancy) pop(link Link) *pair {
	t.lender.mu.Lock()
	defer t.lender.mu.Unlock()
	for _, p := range slices.Backward(t.pairs) {
		if p.link == link && !p.busy {
			p.busy = true
			return p
		}
	}
	return nil
}

// connect opens a pair for a borrower, unless the link has ended.
func (t *tenancy) connect(ctx context.Context, link Link) (*pair, error) {
	c, err := link.Connect(ctx, t.queue, messages)
	if err != nil {
		return nil, err
	}
	p := newPair(t, link, c)
	t.lender.mu.Lock()
	t.pairs = append(t.pairs, p)
	t.lender.mu.Unlock()
	if err := link.Ended(); err != nil {
		p.kill(err)
		p.retire()
		return nil, err
	}
	return p, nil
}

// putBack ends a borrower's use of a pair.
func (t *tenancy) putBack(p *pair) {
	t.lender.mu.Lock()
	dead := p.broken()
	if dead == nil {
		t.remove(p)
		t.pairs = append(t.pairs, p)
		p.busy = false
	}
	t.lender.mu.Unlock()
	if dead == nil {
		return
	}
	p.retire()
	if errors.Is(dead, transport.ErrConnLost) { // the others go by the same network
		t.drop(p.link, dead, false)
	}
}

// remove takes p off the list. Lender.mu is held.
func (t *tenancy) remove(p *pair) {
	t.pairs = slices.DeleteFunc(t.pairs, func(other *pair) bool { return other == p })
}

// drop ends the pairs of a link, or of all for nil, because of why: those that
// nobody uses, and with busy the others, which their borrowers then retire.
func (t *tenancy) drop(link Link, why error, busy bool) {
	var idle []*pair
	t.lender.mu.Lock()
	for _, p := range t.pairs {
		switch {
		case link != nil && p.link != link:
		case !p.busy:
			p.busy = true
			idle = append(idle, p)
		case busy:
			p.kill(why)
		}
	}
	t.lender.mu.Unlock()
	for _, p := range idle {
		p.kill(why)
		p.retire()
	}
}
