package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hbmfs/cache/device"
	"hbmfs/cache/index"
	"hbmfs/cache/internal/list"
	"hbmfs/cache/slots"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// file is a file version that a pool has extents of in its table.
type file struct {
	pool   *pool
	key    FileKey
	index  index.File    // of extents
	pins   int           // of those that are pinned
	source PinSource     // retained while there are some
	share  *limits.Share // of Cache.pinFiles, likewise
}

// find returns an extent that has all of s, a resident one if there is one, or nil.
// With mu.
func (f *file) find(s index.Span) *extent { return extentAt(f.index.Find(s)) }

// coming returns the first filling extent that has a part of s, or nil. With mu.
func (f *file) coming(s index.Span) *extent { return extentAt(f.index.Coming(s)) }

// extentAt is the extent of an entry, or of none.
func extentAt(e *index.Entry) *extent {
	if e == nil {
		return nil
	}
	return e.Tag.(*extent)
}

// pool is one domain's region and what lies in it. That of a reserved region is
// never open, and nothing lies in it.
type pool struct {
	dom   transport.Domain
	ready chan struct{} // closed when the region is made, or err set
	err   error

	// These are set once, before ready is closed.
	open    bool // guarded by Cache.mu
	id      uint32
	region  device.Region
	revoked <-chan struct{}

	// These are guarded by Cache.mu.
	memory    slots.Memory
	transfers int  // into and out of the region that are under way
	retired   bool // nobody finds it any more
	gone      bool // its region was closed then, or is about to be
	files     map[FileKey]*file
	pins      pins
	leased    int64             // bytes, each extent counted once
	queue     list.List[queued] // who waits for room, in order of arrival
	waits     int64             // that ever were in queue
	waited    time.Duration     // of those that are no more
}

// user names whose it is, for limits.
func (p *pool) user() string { return fmt.Sprintf("uid %d", p.dom.UID) }

func (p *pool) isRevoked() bool {
	select {
	case <-p.revoked:
		return true
	default:
		return false
	}
}

// usable returns an error wrapping [transport.ErrRevoked] if the region is not.
func (p *pool) usable() error {
	if p.isRevoked() {
		return fmt.Errorf("region %d: %w", p.id, transport.ErrRevoked)
	}
	return nil
}

// pool returns the domain's pool; nil if it must be made first. With mu.
func (c *Cache) pool(dom transport.Domain) *pool {
	p := c.pools[dom]
	if p == nil || !p.open {
		return nil
	}
	if p.isRevoked() {
		c.retire(p)
		return nil
	}
	return p
}

// openPool returns the domain's pool, and makes it if nobody does so already.
// With mu, which it gives up while it waits.
func (c *Cache) openPool(ctx context.Context, dom transport.Domain) (*pool, error) {
	if c.closed {
		return nil, ErrClosed
	}
	p := c.pools[dom]
	if p == nil {
		p = &pool{dom: dom, ready: make(chan struct{})}
		c.pools[dom] = p
		c.work.Add(1)
		go c.makePool(p)
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-p.ready:
		return p, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// makePool has a goroutine of its own, so that a region that takes long does not
// keep a Fetch whose context ends, and no Fetch that gives up spoils it for others.
func (c *Cache) makePool(p *pool) {
	defer c.work.Done()
	defer close(p.ready)
	region, err := c.makeRegion(p.dom)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		p.err = fmt.Errorf("region for uid %d on device %d: %w", p.dom.UID, p.dom.Device, err)
		if c.closed {
			p.err = ErrClosed
		}
		delete(c.pools, p.dom)
		return
	}
	c.enter(p, region)
	p.memory.Init(region.Size(), c.cfg.Extent, func(s *slots.Slot) { c.evict(s.Tag.(*extent)) })
	p.files = make(map[FileKey]*file)
	p.open = true
	c.work.Go(func() { c.awaitRevocation(p) })
}

// enter gives a region its number. With mu.
func (c *Cache) enter(p *pool, region device.Region) {
	p.id, p.region, p.revoked = c.firstID+uint32(len(c.regions)), region, region.Revoked()
	c.regions = append(c.regions, p)
}

// closeRegion closes a region once nobody uses it by its number.
func (c *Cache) closeRegion(p *pool) error {
	if p.open && c.cfg.Detach != nil {
		c.cfg.Detach(p.region)
	}
	c.using.Lock()
	defer c.using.Unlock()
	return p.region.Close()
}

func (c *Cache) makeRegion(dom transport.Domain) (device.Region, error) {
	d, err := c.Device(dom.Device)
	if err != nil {
		return nil, err
	}
	region, err := d.Provider.Alloc(dom, d.Pool>>c.extentBits<<c.extentBits)
	if err != nil || c.cfg.Attach == nil {
		return region, err
	}
	ctx, cancel := context.WithTimeout(c.life, c.cfg.Timeout)
	defer cancel()
	if err := c.cfg.Attach(ctx, region); err != nil {
		return nil, errors.Join(fmt.Errorf("attach: %w", err), region.Close())
	}
	return region, nil
}

// share enters e in the table. With mu.
func (c *Cache) share(e *extent, key FileKey, whole bool) {
	p := e.pool
	f := p.files[key]
	if f == nil {
		f = pop(&c.files)
		f.pool, f.key = p, key
		f.index.Init(&c.blocks)
		p.files[key] = f
	}
	e.file = f
	e.place.Span = e.span()
	f.index.Add(&e.place, whole)
	p.memory.Enter(&e.slot, key.hash(e.span()))
}

// unshare takes e out of the table, if it is there. With mu.
func (c *Cache) unshare(e *extent) {
	f := e.file
	if f == nil {
		return
	}
	f.index.Remove(&e.place)
	e.file = nil
	if f.index.Len() == 0 {
		c.discard(f)
	}
}

// discard takes a file out of the table that has no extents any more. With mu.
func (c *Cache) discard(f *file) {
	delete(f.pool.files, f.key)
	f.pool = nil
	c.files = append(c.files, f)
}

// forget ends a file's pins, takes all of its extents out of the table, and frees those
// that nobody holds. With mu.
func (c *Cache) forget(f *file) {
	for n := f.index.First(); n != nil && f.pins > 0; n = n.Next() {
		if p := extentAt(n.Value).pin; p != nil {
			c.endPin(p)
		}
	}
	f.index.Clear(func(at *index.Entry) {
		e := extentAt(at)
		e.file = nil
		c.reap(e)
	})
	c.discard(f)
}
