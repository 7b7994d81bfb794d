package loans

import (
	"context"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
)

// enter returns the queue of dom for a borrower, who leaves it again; without one,
// link has been left. Who waits for it is let go when ctx ends; what the kernel is
// doing then goes on without him.
func (l *Lender) enter(ctx context.Context, link Link, dom transport.Domain) (*tenancy, error) {
	t, err := l.find(dom)
	if err != nil {
		link.Leave()
	}
	if t != nil || err != nil {
		return t, err
	}
	type entry struct {
		*tenancy
		error
	}
	entered := make(chan entry)
	going := link.Go(func() {
		t, err := l.handOver(ctx, dom)
		if err != nil {
			link.Leave()
		}
		select {
		case entered <- entry{t, err}:
		case <-ctx.Done():
			if err == nil {
				t.leave(link)
			}
		}
	})
	if !going {
		link.Leave()
		return nil, transport.ErrClosed
	}
	select {
	case e := <-entered:
		return e.tenancy, e.error
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// find returns the queue that dom has, nil for none.
func (l *Lender) find(dom transport.Domain) (*tenancy, error) {
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

// handOver binds a queue to memory of dom, unless that has one by now.
func (l *Lender) handOver(ctx context.Context, dom transport.Domain) (*tenancy, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if t, err := l.find(dom); t != nil || err != nil {
		return t, err
	}
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
	fd, _, _ := r.mem.DMABuf()
	b, err := l.cfg.Bind(fd, q.number)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		r.bound = false
		return nil, fmt.Errorf("%w: %w", transport.ErrNoLoan, err)
	}
	q.tenant = newTenancy(l, r, receive.Queue{Number: q.number, Memory: r.mem, Binding: b})
	return q.tenant, nil
}

// vacate takes a queue from whoever has not borrowed for longest and holds
// nothing, if none is free. Without a queue, all are in use.
func (l *Lender) vacate() (*queue, *tenancy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var best *queue
	for i := range l.queues {
		q := &l.queues[i]
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
