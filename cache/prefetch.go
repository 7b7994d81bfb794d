package cache

import (
	"context"

	"hbmfs/transport"
)

// Prefetch begins to bring a range of a settled file, of at most an extent, for a Fetch
// that is expected. It waits for nothing but Source.Submit, and pins nothing; where
// there is no pool yet, little room, or the range is there already, it does nothing.
func (c *Cache) Prefetch(ctx context.Context, src Source, dom transport.Domain, off, length int64) {
	a, err := c.newAsk(src, off, length, 1)
	if err != nil || a.off == a.end || !a.settled {
		return
	}
	l := c.planAhead(dom, a)
	if l == nil {
		return
	}
	l.start(ctx, src)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(l)
}

// planAhead makes a lease of what is missing, or nil.
func (c *Cache) planAhead(dom transport.Domain, a ask) *Lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pool(dom)
	if p == nil || c.closed {
		return nil
	}
	l := c.lease(p, a)
	l.cover(1)
	defer p.memory.Planned()
	if l.parts[0] != nil || p.queue.Len() > 0 || l.survey() > 0 || p.memory.Available() <= 1+p.memory.Frames()/8 {
		c.recycle(l)
		return nil
	}
	c.begin(l)
	l.parts[0].ahead = true
	return l
}
