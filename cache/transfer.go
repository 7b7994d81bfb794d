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

// done is the Done of e's transfer: nobody writes its memory any more. It panics
// if the source calls it a second time.
func (c *Cache) done(e *extent, r transport.Result) {
	c.mu.Lock()
	if e.state != filling && e.state != quarantined {
		c.mu.Unlock()
		panic("cache: source called a request's Done twice")
	}
	c.count(e, r)
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
	c.mu.Unlock()
	c.work.Done()
}

// succeed makes e resident and hands it to those who wait. With mu.
func (c *Cache) succeed(e *extent) {
	c.become(e, resident)
	e.inFilling.moveTo(nil)
	for _, w := range e.waiters {
		c.pin(e)
		w.lease.arrived(nil)
	}
	e.dropWaiters()
	e.frame.holds--
	e.pool.frames.settle(e.frame)
	c.reap(e)
}

// fail takes e from those who wait, and out of the table. With mu.
func (c *Cache) fail(e *extent, err error) {
	e.inFilling.moveTo(nil)
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
	e.frame.holds--
	c.release(e)
}

// expire quarantines what is overdue. The timer calls it.
func (c *Cache) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for e := c.filling.front(); e != nil; e = c.filling.front() {
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
