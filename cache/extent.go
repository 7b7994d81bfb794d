package cache

import (
	"time"

	"hbmfs/cache/policy"
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
	whole   bool // one of those that a file is cut into: see [ask.whole]
	pool    *pool
	frame   *frame
	slot    int
	file    *file // nil: not in the table
	leases  int   // resident only
	pin     *pin  // nil: not pinned; resident only
	ahead   bool  // prefetched, and not asked for since
	path    uapi.Path
	why     uapi.Reason
	started time.Time
	waiters []waiter // filling only

	// req says where the extent is in its file and its region. While a
	// transfer is under way it belongs to the source.
	req transport.Request

	inFrame, inFile, inFilling node[extent]
	inQueue                    policy.Entry[extent]
}

// waiter is a lease that an extent is filling for: its part'th extent.
type waiter struct {
	lease *Lease
	part  int
}

func (e *extent) span() span { return span{e.req.Off, e.req.Off + e.req.Dst.Len} }

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
func (c *Cache) newExtent(l *Lease, cl *class, s span) *extent {
	e, p := c.unusedExtent(), l.pool
	p.frames.count(p.frames.classOf(s.len()), cl)
	f := c.slotBeside(l, cl)
	if f == nil {
		f = c.slotFor(p, cl)
		if l.ask.access == pinning {
			l.opened = append(l.opened, f)
		}
	}
	e.pool, e.frame, e.slot = p, f, f.take()
	e.inFrame.moveTo(&f.extents)
	p.frames.hold(f)
	cl.need--
	e.ahead = false
	e.req.File = transport.FileRef{}
	e.req.Off = s.from
	e.req.Dst = transport.Span{Mem: p.region, Off: f.off + int64(e.slot)*cl.size, Len: s.len()}
	e.path, e.why = uapi.PathNone, uapi.WhyBest
	c.become(e, filling)
	c.stats.SlotBytes += cl.size
	e.inFilling.moveTo(&c.filling)
	c.work.Add(1)
	return e
}

func (c *Cache) unusedExtent() *extent {
	e := pop(&c.extents)
	if e.req.To == nil {
		e.inFrame.value, e.inFile.value, e.inFilling.value, e.inQueue.Value = e, e, e, e
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

// release gives e's memory back. Nobody holds it and it is not in the table.
// With mu.
func (c *Cache) release(e *extent) {
	f := e.frame
	f.class.queue.Remove(&e.inQueue)
	c.stats.SlotBytes -= f.class.size
	c.become(e, unused)
	e.inFrame.moveTo(nil)
	e.pool.frames.give(f, e.slot)
	e.pool.more()
	e.pool, e.frame, e.req.Dst.Mem = nil, nil, nil
	c.extents = append(c.extents, e)
}

// leaseExtent leases a resident extent. With mu.
func (c *Cache) leaseExtent(e *extent) {
	if e.leases++; e.leases > 1 {
		return
	}
	c.leased(e, 1)
	if e.pin == nil {
		e.frame.class.queue.Busy(&e.inQueue)
		e.pool.frames.hold(e.frame)
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
	fs, cl := &e.pool.frames, e.frame.class
	fs.unhold(e.frame)
	if e.file == nil {
		c.release(e)
		return
	}
	cl.queue.Idle(&e.inQueue, fs.unused()+cl.spare.busy.n+cl.spare.idle.n > 0)
	e.pool.more()
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
