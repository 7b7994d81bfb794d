package cache

import (
	"context"
	"fmt"
	"math"
	"time"

	"hbmfs/transport"
)

// ask is the part of a file that one Fetch is about: extents first to first+n-1
// cover bytes [off, end), and there is more from next on unless that is 0.
type ask struct {
	key      FileKey
	settled  bool
	size     int64
	off, end int64
	next     int64
	first    int64
	n        int
}

// Fetch brings bytes [off, off+length) of a file into the domain's device memory
// and pins them there. It blocks until the device sees all of them. A range past
// the end of the file is cut short; wholly past it, the lease is empty. Where the
// range touches more than limit extents, the lease is of the first limit of them, and
// [Lease.Next] says where to go on.
//
// The caller releases the lease, an empty one too. With an error there is none,
// and nothing is pinned. The error wraps [ErrInvalid], [ErrNoDevice], [ErrNoSpace],
// [ErrOverdue], [ErrClosed], [transport.ErrRevoked], what Alloc, Attach or a transfer failed
// with, or is ctx's. A transfer goes on when ctx ends, for who asks next.
func (c *Cache) Fetch(ctx context.Context, src Source, dom transport.Domain, off, length int64, limit int) (*Lease, error) {
	a, err := c.newAsk(src, off, length, limit)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a.n == 0 {
		return c.empty(a)
	}
	l, err := c.plan(ctx, dom, a)
	if err != nil || l.live {
		return l, err
	}
	l.start(ctx, src)
	return c.finish(l, l.wait(ctx))
}

func (c *Cache) newAsk(src Source, off, length int64, limit int) (ask, error) {
	if off < 0 || length < 0 || off > math.MaxInt64-length || limit < 1 {
		return ask{}, fmt.Errorf("fetch of %d bytes at %d in %d segments: %w", length, off, limit, ErrInvalid)
	}
	a := ask{key: src.Key(), settled: src.Settled(), size: src.Size(), off: off, end: off}
	stop := min(off+length, a.size)
	if off >= stop {
		return a, nil
	}
	a.first = off >> c.extentBits
	n := (stop-1)>>c.extentBits - a.first + 1
	a.end = stop
	if n > int64(limit) {
		n = int64(limit)
		a.end = (a.first + n) << c.extentBits
		a.next = a.end
	}
	a.n = int(n)
	return a, nil
}

// span is the i'th extent's offset and length in the file.
func (a *ask) span(i, extentBits int) (off, n int64) {
	off = (a.first + int64(i)) << extentBits
	return off, min(a.size-off, 1<<extentBits)
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
func (c *Cache) plan(ctx context.Context, dom transport.Domain, a ask) (*Lease, error) {
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
	if c.closed {
		return nil, ErrClosed
	}
	l := c.lease(p, a)
	if missing := c.survey(l); missing > 0 {
		c.recycle(l)
		return nil, fmt.Errorf("%d extents at %d: %w: %d frames of %d bytes more are needed; release leases or enlarge the pool",
			a.n, a.off, ErrNoSpace, missing, c.cfg.Extent)
	}
	c.hold(l)
	c.begin(l)
	if l.pending == 0 {
		c.grant(l)
	}
	return l, nil
}

// survey looks the extents up, and returns how many frames are missing for those
// that are not there. It changes nothing. Of one file, only the tail can be less
// than a frame: no two of these extents share one. With mu.
func (c *Cache) survey(l *Lease) int {
	p, need, idle := l.pool, 0, 0
	var f *file
	if l.ask.settled {
		f = p.files[l.ask.key]
	}
	for i := range l.ask.n {
		off, n := l.ask.span(i, c.extentBits)
		e := p.find(f, off, n)
		l.parts = append(l.parts, e)
		switch {
		case e == nil:
			need += p.frames.needs(n)
		case e.frame.holds == 0:
			idle++ // no more, once it is pinned
		}
	}
	return need - (p.frames.available() - idle)
}

// hold pins what is resident, and waits for what is filling. With mu.
func (c *Cache) hold(l *Lease) {
	for i, e := range l.parts {
		switch {
		case e == nil:
		case e.state == resident:
			c.stats.Hits++
			c.pin(e)
		default:
			c.stats.Joined++
			e.await(l, i)
		}
	}
}

// begin makes the extents that are missing, and the segments of all. With mu.
func (c *Cache) begin(l *Lease) {
	p := l.pool
	fresh := p.frames.fresh
	for i, e := range l.parts {
		if e == nil {
			e = c.miss(l, i)
		}
		off, n := e.req.Off, e.req.Dst.Len
		from, to := max(off, l.ask.off), min(off+n, l.ask.end)
		l.segs = append(l.segs, Segment{
			Region:    p.id,
			RegionOff: e.req.Dst.Off + from - off,
			FileOff:   from,
			Len:       to - from,
			Hit:       e.state == resident,
		})
	}
	l.fresh.from, l.fresh.to = int64(fresh)<<c.extentBits, int64(p.frames.fresh)<<c.extentBits
}

// miss makes the i'th extent of a lease filling. With mu.
func (c *Cache) miss(l *Lease, i int) *extent {
	c.stats.Misses++
	off, n := l.ask.span(i, c.extentBits)
	e := c.newExtent(l.pool, off, n)
	e.req.File.Version = l.ask.key.Version
	if l.ask.settled {
		c.share(e, l.ask.key)
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
	c := l.cache
	for off := l.fresh.from; off < l.fresh.to && ctx.Err() == nil; off += c.cfg.Extent {
		l.pool.region.Prepare(off, c.cfg.Extent)
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
