package cache

import "hbmfs/transport"

// Resident is [Cache.Fetch] of what is in device memory already: where a byte of what
// that would lease is not, or there is nothing to lease, it returns nil and has changed
// nothing. It waits for nothing, and allocates nothing where leases were released
// before.
func (c *Cache) Resident(src Source, dom transport.Domain, off, length int64, limit int) *Lease {
	a, err := c.newAsk(src, off, length, limit)
	if err != nil || a.off == a.end || !a.settled {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pool(dom)
	if c.closed || p == nil || p.usable() != nil {
		return nil
	}
	l := c.lease(p, a)
	l.cover(limit)
	if !l.isResident() {
		c.recycle(l)
		return nil
	}
	c.hold(l)
	c.begin(l)
	c.grant(l)
	return l
}

// isResident reports whether a lease that covers its range needs no transfer. With mu.
func (l *Lease) isResident() bool {
	for _, e := range l.parts {
		if e == nil || e.state != resident {
			return false
		}
	}
	return true
}
