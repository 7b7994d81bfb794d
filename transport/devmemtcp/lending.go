package devmemtcp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

const (
	// lendPairs is how many pairs of connections a user's loans go by, to one
	// target. A loan has a pair to itself until its payload is here.
	lendPairs = 4
	// spareRegions is how many regions are kept that no queue is bound to, for
	// users who come back.
	spareRegions = 4
)

// lending is the queues for loans. Each is one user's at a time, and bound to a
// region that is his. Another user gets a queue of which nothing is lent and on
// which nothing is under way: before it is bound to his region, its pairs are
// closed and their flow rules deleted. So no late packet of the one can fall into
// the memory of the other.
//
// A region is bound to one queue at a time, and only while nothing of it is lent:
// a binding hands out all of its memory anew.
type lending struct {
	rx      *receiver
	reserve transport.ReserveFunc
	size    PoolSize      // of a region
	turn    chan struct{} // holds one: who has it binds and unbinds

	mu      sync.Mutex // guards all below, and what a tenancy says it does
	queues  []*lendQueue
	regions []*lendRegion
	clock   int64 // counts what is taken up and put down
	closed  bool
}

// lendQueue is one of the NIC's queues.
type lendQueue struct {
	number int
	tenant *tenancy // nil: nobody's
}

// tenancy is a queue's time with one user.
type tenancy struct {
	lending *lending
	queue   int
	region  *lendRegion
	binding nicBinding
	slots   chan struct{} // as many as there may be pairs at work

	// Guarded by lending.mu:
	borrowers int
	pairs     map[*lendPair]struct{} // that are not at an end
	idle      []*lendPair
	fragment  int64 // what the latest payloads came in: bytes a fragment,
	segment   int64 // and bytes a segment
}

// lendRegion is memory to lend to one user.
type lendRegion struct {
	lending *lending
	mem     transport.LoanMemory
	dom     transport.Domain
	lent    atomic.Int64 // bytes of pages

	// Guarded by lending.mu:
	bound  bool
	given  bool  // its time is over: it is closed once nothing is lent
	closed bool  //
	used   int64 // by lending's clock
}

func (l *lending) init(rx *receiver, reserve transport.ReserveFunc, queues []int, size PoolSize) {
	l.rx, l.reserve, l.size = rx, reserve, size
	l.turn = make(chan struct{}, 1)
	for _, q := range queues {
		l.queues = append(l.queues, &lendQueue{number: q})
	}
}

// enter returns the queue of dom for a borrower, who leaves it again.
func (l *lending) enter(ctx context.Context, dom transport.Domain) (*tenancy, error) {
	if t, err := l.find(dom); t != nil || err != nil {
		return t, err
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if t, err := l.find(dom); t != nil || err != nil {
		return t, err
	}
	return l.settle(dom)
}

// find returns the queue that dom has, nil for none.
func (l *lending) find(dom transport.Domain) (*tenancy, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.queues) == 0:
		return nil, errNoQueues
	case l.closed:
		return nil, errGivenBack
	}
	for _, q := range l.queues {
		if q.tenant != nil && q.tenant.region.dom == dom {
			q.tenant.borrowers++
			return q.tenant, nil
		}
	}
	return nil, nil
}

func (t *tenancy) leave() {
	t.lending.mu.Lock()
	defer t.lending.mu.Unlock()
	t.borrowers--
	t.lending.clock++
	t.region.used = t.lending.clock
}

// settle binds a queue to memory of dom. It has the turn.
func (l *lending) settle(dom transport.Domain) (*tenancy, error) {
	q, last := l.vacate()
	if q == nil {
		return nil, fmt.Errorf("%w: all %d queues for loans are other users'", transport.ErrLoanBudget, len(l.queues))
	}
	if err := last.end(); err != nil {
		return nil, fmt.Errorf("%w: queue %d: %w", transport.ErrNoLoan, q.number, err)
	}
	r, err := l.region(dom)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrNoLoan, err)
	}
	t := &tenancy{
		lending: l, queue: q.number, region: r, slots: make(chan struct{}, lendPairs), borrowers: 1,
		pairs: make(map[*lendPair]struct{}), fragment: pageSize, segment: pageSize,
	}
	fd, _, _ := r.mem.DMABuf()
	t.binding, err = l.rx.nic.Bind(fd, q.number)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		r.bound = false
		return nil, fmt.Errorf("%w: %w", transport.ErrNoLoan, err)
	}
	q.tenant = t
	return t, nil
}

var pageSize = int64(os.Getpagesize())

// vacate takes a queue from whoever has not borrowed for longest and holds
// nothing, if none is free. Without a queue, all are in use.
func (l *lending) vacate() (*lendQueue, *tenancy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var best *lendQueue
	for _, q := range l.queues {
		t := q.tenant
		if t == nil {
			return q, nil
		}
		if t.borrowers == 0 && t.region.lent.Load() == 0 && (best == nil || t.region.used < best.tenant.region.used) {
			best = q
		}
	}
	if best == nil {
		return nil, nil
	}
	last := best.tenant
	best.tenant = nil
	return best, last
}

// end closes the pairs of a tenancy that nobody borrows in, and unbinds the
// queue. Nil has nothing to end.
func (t *tenancy) end() error {
	if t == nil {
		return nil
	}
	for _, p := range t.takePairs(nil) {
		p.kill(errVacated)
		p.retire()
	}
	err := t.binding.Close()
	t.lending.mu.Lock()
	defer t.lending.mu.Unlock()
	t.region.bound = false
	return err
}

var (
	errNoQueues  = fmt.Errorf("%w: no receive queue was set aside for loans (--lend-queues)", transport.ErrNoLoan)
	errGivenBack = fmt.Errorf("%w: the NIC is being given back", transport.ErrNoLoan)
)

var errVacated = errors.New("the queue for loans is another user's now")

// region returns memory of dom that nothing is lent of, for a queue to be bound
// to. It has the turn.
func (l *lending) region(dom transport.Domain) (*lendRegion, error) {
	l.prune()
	if r := l.reuse(dom); r != nil {
		return r, nil
	}
	mem, err := l.reserve(dom, l.size.Total())
	if err != nil {
		return nil, err
	}
	if _, off, ok := mem.DMABuf(); !ok || off != 0 {
		return nil, errors.Join(errors.New("memory for loans has no dma-buf of its own: use a device whose memory has one, such as udmabuf"), mem.Close())
	}
	r := &lendRegion{lending: l, mem: mem, dom: dom, bound: true}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.regions = append(l.regions, r)
	return r, nil
}

func (l *lending) reuse(dom transport.Domain) *lendRegion {
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
func (l *lending) prune() {
	l.mu.Lock()
	var spare int
	var oldest *lendRegion
	var over []*lendRegion
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
func (r *lendRegion) giveUp() error {
	r.lending.mu.Lock()
	r.given = true
	r.lending.mu.Unlock()
	return r.closeUnlent()
}

// closeUnlent closes a region whose time is over, if nothing of it is lent.
func (r *lendRegion) closeUnlent() error {
	l := r.lending
	l.mu.Lock()
	last := r.given && !r.closed && r.lent.Load() == 0
	if last {
		r.closed = true
		for i, other := range l.regions {
			if other == r {
				l.regions = append(l.regions[:i], l.regions[i+1:]...)
				break
			}
		}
	}
	l.mu.Unlock()
	if !last {
		return nil
	}
	return r.mem.Close()
}

// take has n bytes more of the region be lent, if the budget allows.
func (r *lendRegion) take(n int64) bool {
	if r.lent.Add(n) <= r.lending.size.Lent {
		return true
	}
	r.lent.Add(-n)
	return false
}

// left is how much may still be lent.
func (r *lendRegion) left() int64 { return r.lending.size.Lent - r.lent.Load() }

// back undoes take.
func (r *lendRegion) back(n int64) {
	if r.lent.Add(-n) == 0 {
		_ = r.closeUnlent() // nobody is there to be told
	}
}

// close ends all tenancies, before the NIC is given back. Loans stay.
func (l *lending) close() error {
	l.mu.Lock()
	l.closed = true
	var ending []*tenancy
	for _, q := range l.queues {
		if q.tenant != nil {
			ending = append(ending, q.tenant)
			q.tenant = nil
		}
	}
	l.mu.Unlock()
	var errs []error
	for _, t := range ending {
		errs = append(errs, t.end())
	}
	return errors.Join(errs...)
}

// free gives the regions back that nothing is lent of, and leaves the others to
// the end of their loans.
func (l *lending) free() error {
	l.mu.Lock()
	regions := append([]*lendRegion(nil), l.regions...)
	l.mu.Unlock()
	var errs []error
	for _, r := range regions {
		errs = append(errs, r.giveUp())
	}
	return errors.Join(errs...)
}
