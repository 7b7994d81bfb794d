package cache

import (
	"time"

	"hbmfs/cache/index"
	"hbmfs/cache/internal/list"
	"hbmfs/cache/slots"
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

// extent is a span of a file in a slot of its pool's memory. Unused ones are kept with
// their request, so that a transfer allocates nothing. All fields
// but req are guarded by Cache.mu.
type extent struct {
	state   state
	ahead   bool // prefetched, and not asked for since
	path    uapi.Path
	why     uapi.Reason
	pool    *pool
	file    *file       // nil: not in the table
	leases  int         // resident only
	pin     *pin        // nil: not pinned; resident only
	place   index.Entry // in file's index
	slot    slots.Slot
	started time.Time
	waiters []waiter // filling only

	// req says where the extent is in its file and its region. While a
	// transfer is under way it belongs to the source.
	req transport.Request

	inFilling list.Node[extent]
}

// waiter is a lease that an extent is filling for: its part'th extent.
type waiter struct {
	lease *Lease
	part  int
}

func (e *extent) span() index.Span { return index.Span{From: e.req.Off, To: e.req.Off + e.req.Dst.Len} }

// goes reports whether the extent may go: it is resident, and neither leased nor pinned.
func (e *extent) goes() bool { return e.state == resident && e.leases == 0 && e.pin == nil }

// become changes the state and keeps count. With mu.
func (c *Cache) become(e *extent, s state) {
	c.usage[e.state].add(-1, e.req.Dst.Len)
	c.usage[s].add(1, e.req.Dst.Len)
	e.state = s
}

// newExtent makes a span of a file filling, in a slot of a class, in memory that is
// free or is taken from others for it; the caller made sure that there is some.
// With mu.
func (c *Cache) newExtent(l *Lease, cl *slots.Class, s index.Span) *extent {
	e, p := c.unusedExtent(), l.pool
	p.memory.Take(&e.slot, cl, s.Len(), l.plan.Pins)
	e.pool = p
	e.ahead = false
	e.req.File = transport.FileRef{}
	e.req.Off = s.From
	e.req.Dst = transport.Span{Mem: p.region, Off: e.slot.Off(), Len: s.Len()}
	e.path, e.why = uapi.PathNone, uapi.WhyBest
	c.become(e, filling)
	c.stats.SlotBytes += e.slot.Size()
	e.inFilling.MoveTo(&c.filling)
	p.transfers++
	c.work.Add(1)
	return e
}

func (c *Cache) unusedExtent() *extent {
	e := pop(&c.extents)
	if e.req.To == nil {
		e.slot.Tag, e.place.Tag, e.inFilling.Value = e, e, e
		e.req.To, e.req.Tag = (*transfers)(c), e
	}
	return e
}

// reap frees e if it is of no more use to anybody. With mu.
func (c *Cache) reap(e *extent) {
	if e.goes() && e.file == nil {
		c.release(e)
	}
}

// release gives e's memory back. Nobody needs it and it is not in the table.
// With mu.
func (c *Cache) release(e *extent) {
	c.stats.SlotBytes -= e.slot.Size()
	c.become(e, unused)
	e.pool.memory.Free(&e.slot)
	e.pool.more()
	e.pool, e.req.Dst.Mem = nil, nil
	c.extents = append(c.extents, e)
}

// leaseExtent leases a resident extent. With mu.
func (c *Cache) leaseExtent(e *extent) {
	if e.leases++; e.leases > 1 {
		return
	}
	c.leased(e, 1)
	if e.pin == nil {
		e.pool.memory.Hold(&e.slot)
	}
}

// unleaseExtent undoes leaseExtent. With mu.
func (c *Cache) unleaseExtent(e *extent) {
	if e.leases--; e.leases > 0 {
		return
	}
	c.leased(e, -1)
	if e.pin == nil {
		c.idle(e)
	}
}

// leased counts that an extent is leased now, or with -1 is no more. With mu.
func (c *Cache) leased(e *extent, n int64) {
	c.stats.LeasedBytes += n * e.req.Dst.Len
	e.pool.leased += n * e.req.Dst.Len
}

// idle lets a resident extent go that nothing holds any more, if others need its
// memory, or at once if nobody can find it. With mu.
func (c *Cache) idle(e *extent) {
	if e.file == nil {
		c.release(e)
		return
	}
	e.pool.memory.LetGo(&e.slot)
	e.pool.more()
}

// evict frees an extent that nothing holds. With mu.
func (c *Cache) evict(e *extent) {
	c.stats.Evictions++
	c.unshare(e)
	c.release(e)
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
