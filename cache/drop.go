package cache

import (
	"cmp"
	"context"
	"slices"

	"hbmfs/cache/index"
	"hbmfs/transport"
)

// dropStep is how many extents are let go at a time: others have the lock in between.
const dropStep = 1000

// Unpin ends the pins of a user, on all devices, that have a byte of [off, off+length)
// of a file, and returns how many bytes are not pinned any more. They stay in memory
// until that is needed. The error is ctx's: then only some of them have ended.
func (c *Cache) Unpin(ctx context.Context, uid uint32, key FileKey, off, length int64) (bytes int64, err error) {
	return c.inSteps(ctx, uid, key, index.Span{From: off, To: off + length}, func(e *extent) bool {
		if e.pin == nil {
			return false
		}
		c.endPin(e.pin)
		return true
	})
}

// UnpinAll ends all pins that a user has when it is called. The error is ctx's: then
// only some have ended.
func (c *Cache) UnpinAll(ctx context.Context, uid uint32) (bytes int64, err error) {
	for device := range c.cfg.Devices {
		dom := transport.Domain{UID: uid, Device: uint32(device)}
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				return bytes, err
			}
			var n int64
			n, more = c.unpinSome(dom)
			bytes += n
		}
	}
	return bytes, nil
}

// unpinSome ends the oldest pins of a domain, and reports whether there are more.
func (c *Cache) unpinSome(dom transport.Domain) (bytes int64, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pool(dom)
	if p == nil {
		return 0, false
	}
	before := p.pins.bytes
	for range min(dropStep, p.pins.all.Len()) {
		c.endPin(p.pins.all.Front())
	}
	return before - p.pins.bytes, p.pins.all.Len() > 0
}

// Evict drops what a user has in memory, on all devices, of bytes [off, off+length) of
// a file, and returns how many bytes that were: extents that have a byte of it, and
// are neither leased, pinned nor under way. The error is ctx's: then some are dropped.
func (c *Cache) Evict(ctx context.Context, uid uint32, key FileKey, off, length int64) (bytes int64, err error) {
	return c.inSteps(ctx, uid, key, index.Span{From: off, To: off + length}, func(e *extent) bool {
		if !e.goes() {
			return false
		}
		c.evict(e)
		return true
	})
}

// inSteps calls do, with mu, for the extents that a user has of a range, the last ones
// first: those are the cheapest to take out of the index. It returns the bytes of those
// for which do returns true.
func (c *Cache) inSteps(ctx context.Context, uid uint32, key FileKey, s index.Span, do func(*extent) bool) (bytes int64, err error) {
	for device := range c.cfg.Devices {
		dom := transport.Domain{UID: uid, Device: uint32(device)}
		for step := range slices.Chunk(c.spansOf(dom, key, s), dropStep) {
			if err := ctx.Err(); err != nil {
				return bytes, err
			}
			bytes += c.each(dom, key, step, do)
		}
	}
	return bytes, nil
}

// spansOf are the extents that a domain has of a range, the last ones first.
func (c *Cache) spansOf(dom transport.Domain, key FileKey, s index.Span) []index.Span {
	c.mu.Lock()
	var all []index.Span
	if p := c.pool(dom); p != nil {
		if f := p.files[key]; f != nil {
			for _, e := range f.index.Overlapping(s) {
				all = append(all, e.Span)
			}
		}
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b index.Span) int { return cmp.Or(cmp.Compare(b.From, a.From), cmp.Compare(b.To, a.To)) })
	return all
}

// each calls do, with mu, for those of the extents that are still there.
func (c *Cache) each(dom transport.Domain, key FileKey, spans []index.Span, do func(*extent) bool) (bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pool(dom)
	for _, s := range spans {
		if p == nil || p.files[key] == nil {
			return bytes
		}
		if e := extentAt(p.files[key].index.At(s)); e != nil && do(e) {
			bytes += s.Len()
		}
	}
	return bytes
}
