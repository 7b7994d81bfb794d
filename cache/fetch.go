package cache

import (
	"context"
	"time"

	"hbmfs/cache/index"
	"hbmfs/cache/slots"
	"hbmfs/transport"
)

// Fetch brings bytes [off, off+length) of a file into the domain's device memory
// and pins them there. It blocks until the device sees all of them. A range past
// the end of the file is cut short; wholly past it, the lease is empty. A range
// that lies in one extent is found there, whatever it was fetched for. Where the
// range takes more than limit extents, the lease is of the first limit of them, and
// [Lease.Next] says where to go on.
//
// The caller releases the lease, an empty one too. With an error there is none,
// and nothing is pinned. The error wraps [ErrInvalid], [ErrNoDevice], [ErrNoSpace],
// [ErrOverdue], [ErrClosed], [transport.ErrRevoked], what Alloc, Attach or a transfer failed
// with, or is ctx's. A transfer goes on when ctx ends, for who asks next.
func (c *Cache) Fetch(ctx context.Context, src Source, dom transport.Domain, off, length int64, access Access, limit int) (*Lease, error) {
	return c.FetchWithin(ctx, 0, src, dom, off, length, access, limit)
}

// FetchWithin is [Cache.Fetch] that waits for room in the domain's pool, up to wait,
// where that would fail with [ErrNoSpace]: see the package comment. What could not fit
// if all was released but what is pinned for longer than that fails at once, and so does
// one more than may wait: the error then wraps [limits.ErrLimit].
func (c *Cache) FetchWithin(ctx context.Context, wait time.Duration, src Source, dom transport.Domain, off, length int64, access Access, limit int) (*Lease, error) {
	a, err := c.newAsk(src, off, length, limit)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a.off == a.end {
		return c.empty(a)
	}
	a.access = access
	if wait > 0 {
		a.until = time.Now().Add(wait)
	}
	l, err := c.plan(ctx, dom, a, limit)
	if err != nil || l.live {
		return l, err
	}
	l.start(ctx, src)
	return c.finish(l, l.wait(ctx))
}

func (c *Cache) empty(a ask) (*Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	l := c.lease(nil, a)
	c.grant(l)
	return l, nil
}

// plan makes a lease of what is asked for. It is handed out at once if all of it
// is resident; otherwise transfers are to be started and waited for.
func (c *Cache) plan(ctx context.Context, dom transport.Domain, a ask, limit int) (*Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pool(dom)
	if p == nil {
		var err error
		if p, err = c.openPool(ctx, dom); err != nil {
			return nil, err
		}
		if err = p.usable(); err != nil {
			return nil, err
		}
	}
	l, err := c.admit(p, &a, limit, nil)
	if !a.until.IsZero() && mayWait(err) {
		return c.awaitRoom(ctx, p, a, limit)
	}
	return l, err
}

// admit is plan in a pool, for one who waits in its queue, or for who does not. With mu.
func (c *Cache) admit(p *pool, a *ask, limit int, q *queued) (*Lease, error) {
	if c.closed {
		return nil, ErrClosed
	}
	l := c.lease(p, *a)
	l.cover(limit)
	if a.access == pinning {
		if err := c.planPins(l); err != nil {
			c.recycle(l)
			return nil, err
		}
	}
	if len(l.spans) > 0 {
		if err := l.fits(q); err != nil {
			p.memory.Planned()
			c.recycle(l)
			return nil, err
		}
	}
	for _, e := range l.evicts {
		c.evict(e)
	}
	c.hold(l)
	c.begin(l)
	p.memory.Planned()
	if l.pending == 0 {
		c.grant(l)
	}
	return l, nil
}

// hold pins what is resident, and waits for what is filling. With mu.
func (c *Cache) hold(l *Lease) {
	for i, e := range l.parts {
		if e == nil {
			continue
		}
		if !e.ahead {
			l.pool.memory.Hit(&e.slot)
		}
		switch {
		case e.ahead:
			c.stats.Expected++
		case e.state == resident:
			c.stats.Hits++
			l.segs[i].Hit = true
		default:
			c.stats.Joined++
		}
		e.ahead = false
		if e.state == resident {
			c.leaseExtent(e)
		} else {
			e.await(l, i)
		}
	}
}

// begin makes the extents that are missing, and says where all are. With mu.
func (c *Cache) begin(l *Lease) {
	p := l.pool
	missed := 0
	for i, e := range l.parts {
		if e == nil {
			e = c.miss(l, i, l.spans[missed], l.plan.Classes[missed])
			missed++
		}
		s := &l.segs[i]
		s.Region, s.RegionOff = p.id, e.req.Dst.Off+s.FileOff-e.req.Off
	}
	for _, r := range l.reqs {
		p.touched(r.Tag.(*extent)) // which is had by all
	}
}

// miss makes the i'th extent of a lease filling. With mu.
func (c *Cache) miss(l *Lease, i int, s index.Span, cl *slots.Class) *extent {
	c.stats.Misses++
	e := c.newExtent(l, cl, s)
	e.req.File.Version = l.ask.key.Version
	if l.ask.settled {
		c.share(e, l.ask.key, l.ask.isWhole(s))
	}
	if from, to := e.slot.Prepare(c.cfg.Extent); from < to {
		l.fresh = append(l.fresh, index.Span{From: from, To: to})
	}
	if len(l.reqs) == 0 {
		l.started = time.Now()
		c.arm()
	}
	e.started = l.started
	l.parts[i] = e
	l.reqs = append(l.reqs, &e.req)
	e.await(l, i)
	return e
}

// start submits the transfers that the lease began.
func (l *Lease) start(ctx context.Context, src Source) {
	for _, s := range l.fresh {
		if ctx.Err() == nil {
			l.pool.region.Prepare(s.From, s.Len())
		}
	}
	if len(l.reqs) > 0 {
		src.Submit(l.reqs)
	}
}

// wait returns nil when every extent is there or one has failed.
func (l *Lease) wait(ctx context.Context) error {
	select {
	case <-l.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.pool.revoked:
		return nil
	case <-l.cache.life.Done():
		return ErrClosed
	}
}

// finish hands the lease out, or drops it for err or its own failure.
func (c *Cache) finish(l *Lease, err error) (*Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = l.err
	}
	if err == nil {
		err = l.pool.usable()
	}
	if err != nil {
		c.drop(l)
		return nil, err
	}
	c.grant(l)
	return l, nil
}
