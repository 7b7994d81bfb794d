package cache

import (
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// state is what an extent is. See the package comment.
type state uint8

const (
	unused state = iota
	filling
	resident
	quarantined
	states
)

// extent is a span of a file in a slot of a frame. Unused ones are kept with
// their request, so that a transfer allocates nothing. All fields
// but req are guarded by Cache.mu.
type extent struct {
	state   state
	pool    *pool
	frame   *frame
	slot    int
	file    *file // nil: not in the table
	leases  int   // resident only
	path    uapi.Path
	why     uapi.Reason
	started time.Time
	waiters []waiter // filling only

	// req says where the extent is in its file and its region. While a
	// transfer is under way it belongs to the source.
	req transport.Request

	inFrame, inFile, inFilling node[extent]
}

// waiter is a lease that an extent is filling for: its part'th extent.
type waiter struct {
	lease *Lease
	part  int
}

func (e *extent) place() place { return place{e.file, e.req.Off, e.req.Dst.Len} }

// become changes the state and keeps count. With mu.
func (c *Cache) become(e *extent, s state) {
	c.usage[e.state].add(-1, e.req.Dst.Len)
	c.usage[s].add(1, e.req.Dst.Len)
	e.state = s
}

// newExtent makes bytes [off, off+n) of a file filling, in memory that is free or
// is evicted for it; the caller made sure that there is some. With mu.
func (c *Cache) newExtent(p *pool, off, n int64) *extent {
	e := c.unusedExtent()
	f := c.frameFor(p, slotBits(n))
	e.pool, e.frame, e.slot = p, f, f.take()
	e.inFrame.moveTo(&f.extents)
	e.req.File = transport.FileRef{}
	e.req.Off = off
	e.req.Dst = transport.Span{Mem: p.region, Off: f.off + int64(e.slot)<<f.slotBits, Len: n}
	e.path, e.why = uapi.PathNone, uapi.WhyBest
	c.become(e, filling)
	e.inFilling.moveTo(&c.filling)
	c.work.Add(1)
	f.holds++
	p.frames.settle(f)
	return e
}

func (c *Cache) unusedExtent() *extent {
	e := pop(&c.extents)
	if e.req.To == nil {
		e.inFrame.value, e.inFile.value, e.inFilling.value = e, e, e
		e.req.To, e.req.Tag = (*transfers)(c), e
	}
	return e
}

// frameFor returns a frame with a free slot of that size. With mu.
func (c *Cache) frameFor(p *pool, bits int) *frame {
	if f := p.frames.spare(bits); f != nil {
		return f
	}
	f := p.frames.free()
	if f == nil {
		c.evict(p.frames.idle.front())
		f = p.frames.free()
	}
	f.slotBits = bits
	return f
}

// evict empties an idle frame. With mu.
func (c *Cache) evict(f *frame) {
	for e := f.extents.front(); e != nil; e = f.extents.front() {
		c.stats.Evictions++
		c.unshare(e)
		c.release(e)
	}
}

// reap frees e if it is of no more use to anybody. With mu.
func (c *Cache) reap(e *extent) {
	if e.state == resident && e.leases == 0 && e.file == nil {
		c.release(e)
	}
}

// release gives e's memory back. Nobody holds it and it is not in the table.
// With mu.
func (c *Cache) release(e *extent) {
	f := e.frame
	c.become(e, unused)
	e.inFrame.moveTo(nil)
	f.give(e.slot)
	e.pool.frames.settle(f)
	e.pool, e.frame, e.req.Dst.Mem = nil, nil, nil
	c.extents = append(c.extents, e)
}

// pin leases a resident extent. With mu.
func (c *Cache) pin(e *extent) {
	if e.leases++; e.leases == 1 {
		c.stats.PinnedBytes += e.req.Dst.Len
	}
	e.frame.holds++
	e.pool.frames.settle(e.frame)
}

// unpin undoes pin. With mu.
func (c *Cache) unpin(e *extent) {
	if e.leases--; e.leases == 0 {
		c.stats.PinnedBytes -= e.req.Dst.Len
	}
	e.frame.holds--
	e.pool.frames.settle(e.frame)
	c.reap(e)
}

// pop takes an unused value from a free list, or makes one. With mu.
func pop[T any](free *[]*T) *T {
	last := len(*free) - 1
	if last < 0 {
		return new(T)
	}
	v := (*free)[last]
	*free = (*free)[:last]
	return v
}
