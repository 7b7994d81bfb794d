package cache

import (
	"fmt"
	"slices"
	"time"

	"hbmfs/transport"
)

// await makes lease wait for a filling extent. With mu.
func (e *extent) await(l *Lease, part int) {
	e.waiters = append(e.waiters, waiter{l, part})
	l.pending++
}

// desert undoes await. With mu.
func (e *extent) desert(l *Lease) {
	i := slices.IndexFunc(e.waiters, func(w waiter) bool { return w.lease == l })
	last := len(e.waiters) - 1
	e.waiters[i] = e.waiters[last]
	e.waiters[last] = waiter{}
	e.waiters = e.waiters[:last]
}

// transfers is the cache as those see it who end its requests.
type transfers Cache

// Complete implements [transport.Completer]: nobody writes the extents' memory any
// more. It panics if a request completes a second time.
func (t *transfers) Complete(done []transport.Completion) {
	c := (*Cache)(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range done {
		c.complete(done[i].Tag.(*extent), done[i].Result)
	}
	c.work.Add(-len(done))
}

// complete ends e's transfer. With mu.
func (c *Cache) complete(e *extent, r transport.Result) {
	if e.state != filling && e.state != quarantined {
		panic("cache: a request completed twice")
	}
	c.count(e, r)
	defer c.transferred(e.pool)
	switch {
	case e.state == quarantined:
		c.abandon(e)
	case r.Err != nil:
		c.fail(e, fmt.Errorf("transfer of %d bytes at %d: %w", e.req.Dst.Len, e.req.Off, r.Err))
		c.abandon(e)
	default:
		e.path, e.why = r.Path, r.Why
		c.succeed(e)
	}
}

// succeed makes e resident and hands it to those who wait. With mu.
func (c *Cache) succeed(e *extent) {
	c.become(e, resident)
	e.inFilling.MoveTo(nil)
	if e.file != nil {
		e.file.index.Came(&e.place)
	}
	e.leases = len(e.waiters)
	for _, w := range e.waiters {
		w.lease.arrived(nil)
	}
	e.dropWaiters()
	if e.leases == 0 {
		c.idle(e)
		return
	}
	c.leased(e, 1)
	e.pool.touched(e) // who wants what lies around it as well can have that in one piece now
}

// fail takes e from those who wait, and out of the table. With mu.
func (c *Cache) fail(e *extent, err error) {
	e.inFilling.MoveTo(nil)
	e.pool.touched(e)
	c.unshare(e)
	for _, w := range e.waiters {
		w.lease.parts[w.part] = nil
		w.lease.arrived(err)
	}
	e.dropWaiters()
}

func (e *extent) dropWaiters() {
	clear(e.waiters)
	e.waiters = e.waiters[:0]
}

// abandon frees an extent that was taken from everybody, when its transfer has
// ended. With mu.
func (c *Cache) abandon(e *extent) {
	c.release(e)
}

// expire quarantines what is overdue. The timer calls it.
func (c *Cache) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for e := c.filling.Front(); e != nil; e = c.filling.Front() {
		if left := c.cfg.Timeout - now.Sub(e.started); left > 0 {
			c.timer.Reset(left)
			return
		}
		c.stats.Overdue++
		c.become(e, quarantined)
		c.fail(e, fmt.Errorf("%w: %d bytes at %d, for %v", ErrOverdue, e.req.Dst.Len, e.req.Off, c.cfg.Timeout))
	}
	c.armed = false
}

// arm sees to it that the timer fires when the oldest transfer is overdue, or
// before. With mu.
func (c *Cache) arm() {
	if !c.armed {
		c.armed = true
		c.timer.Reset(c.cfg.Timeout)
	}
}
