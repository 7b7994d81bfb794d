package cache

import (
	"fmt"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// Reserved is a region that the cache puts nothing into: one whose user decides
// what lies where in it.
type Reserved struct {
	device.Region
	cache *Cache
	pool  *pool
}

// Reserve makes a region of size bytes for a domain. It has a number as those
// have that the cache fills, so that the domain's user can have its descriptor,
// but is not attached. It adds to what its device's pool allows a domain.
//
// The caller closes the region, or else Close of the cache does. The error wraps
// [ErrClosed] or [ErrNoDevice], or is the provider's.
func (c *Cache) Reserve(dom transport.Domain, size int64) (*Reserved, error) {
	if !c.working() {
		return nil, ErrClosed
	}
	defer c.work.Done()
	d, err := c.Device(dom.Device)
	if err != nil {
		return nil, err
	}
	region, err := d.Provider.Alloc(dom, size)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes for uid %d on device %d: %w", size, dom.UID, dom.Device, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &Reserved{Region: region, cache: c, pool: &pool{dom: dom}}
	c.enter(r.pool, region)
	c.stats.Reserved++
	c.stats.ReservedBytes += region.Size()
	return r, nil
}

// working adds to c.work, unless the cache is closed.
func (c *Cache) working() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Add(1)
	return true
}

// ID is the region's number.
func (r *Reserved) ID() uint32 { return r.pool.id }

// Close gives the memory back and ends the number. No device may write the
// region any more. A second call does nothing.
func (r *Reserved) Close() error {
	if !r.cache.leave(r.pool) {
		return nil
	}
	return r.cache.closeRegion(r.pool)
}

// leave ends a reserved region's number, and returns false if it had ended.
func (c *Cache) leave(p *pool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := &c.regions[p.id-c.firstID]
	if *at == nil {
		return false
	}
	*at = nil
	c.stats.Reserved--
	c.stats.ReservedBytes -= p.region.Size()
	return true
}
