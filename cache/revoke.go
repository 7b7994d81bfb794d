package cache

import (
	"log/slog"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// Revoke takes a device's memory from all users, and returns how many regions that were,
// and their bytes. Whoever waits for memory in them fails with [transport.ErrRevoked],
// which is the [Lease.Err] of what is leased there. A region is given back once nothing
// is copied into it or out of it any more, however long it is leased; whoever asks next
// gets another one. What is lent stays until it is returned. The error wraps
// [ErrNoDevice].
func (c *Cache) Revoke(device uint32) (regions int, bytes int64, err error) {
	if _, err := c.Device(device); err != nil {
		return 0, 0, err
	}
	for _, r := range c.regionsOf(device) {
		r.Revoke()
		regions, bytes = regions+1, bytes+r.Size()
	}
	return regions, bytes, nil
}

// regionsOf are the regions on a device that the cache fills.
func (c *Cache) regionsOf(number uint32) (all []device.Region) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for dom, p := range c.pools {
		if dom.Device == number && p.open && !p.isRevoked() {
			all = append(all, p.region)
		}
	}
	return all
}

// OnRevoke has fn called each time that a domain's region was revoked. Fn may be called
// concurrently, and must not block.
func (c *Cache) OnRevoke(fn func(transport.Domain)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onRevoke = fn
}

// awaitRevocation retires a pool that is revoked: its pins must not keep files open
// until somebody asks for the domain.
func (c *Cache) awaitRevocation(p *pool) {
	select {
	case <-p.revoked:
	case <-c.life.Done():
		return
	}
	c.mu.Lock()
	c.retire(p)
	tell := c.onRevoke
	c.mu.Unlock()
	if tell != nil {
		tell(p.dom)
	}
}

// retire takes a revoked pool out of use. What is leased stays in the books until it is
// let go. With mu.
func (c *Cache) retire(p *pool) {
	if p.retired {
		return
	}
	p.retired = true
	if c.pools[p.dom] == p {
		delete(c.pools, p.dom)
	}
	for _, f := range p.files {
		c.forget(f)
	}
	c.giveBack(p)
}

// transferred ends a transfer of a pool. With mu.
func (c *Cache) transferred(p *pool) {
	p.transfers--
	c.giveBack(p)
}

// giveBack closes the region of a retired pool once nothing writes or reads it. With mu.
func (c *Cache) giveBack(p *pool) {
	if !p.retired || p.transfers > 0 || p.gone || c.closed {
		return // or else Close does
	}
	p.gone = true
	c.work.Go(func() {
		if err := c.closeRegion(p); err != nil {
			slog.Error("cache: close a revoked region", "region", p.id, "error", err)
		}
	})
}
