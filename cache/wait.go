package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hbmfs/transport/limits"
)

// queued is a Fetch that waits for room in a pool.
type queued struct {
	inQueue node[queued]
	wake    chan struct{} // has a token when it is to look whether there is room
}

// newWaits bounds the fetches that wait: their goroutines, and what it costs to look.
func newWaits() *limits.Limit {
	return limits.New(limits.Config{What: "fetches that wait for room", All: 1024, Each: 256, Remedy: "release some handles, or ask for fewer at a time"})
}

// errTooLarge: a range does not fit, whoever releases what.
var errTooLarge = fmt.Errorf("%w, and too small for this range", ErrNoSpace)

// mayWait reports whether a Fetch failed for want of room that there may be later.
func mayWait(err error) bool { return errors.Is(err, ErrNoSpace) && !errors.Is(err, errTooLarge) }

// awaitRoom is admit once there is room and all who came before have had theirs.
// With mu, which it gives up while it waits.
func (c *Cache) awaitRoom(ctx context.Context, wait time.Duration, p *pool, a ask, limit int) (*Lease, error) {
	share, err := c.waits.Take(fmt.Sprintf("uid %d", p.dom.UID), 1)
	if err != nil {
		return nil, err
	}
	defer share.Leave()
	q := p.enqueue()
	defer p.dequeue(q, time.Now())
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		timedOut, err := c.sleep(ctx, p, q, over.C)
		if err != nil {
			return nil, err
		}
		l, err := c.admit(p, &a, limit, q)
		switch {
		case !mayWait(err):
			return l, err
		case timedOut:
			return nil, fmt.Errorf("after %v: %w", wait, err)
		}
	}
}

// sleep waits until q is to look whether there is room. With mu, which it gives up
// meanwhile.
func (c *Cache) sleep(ctx context.Context, p *pool, q *queued, over <-chan time.Time) (timedOut bool, err error) {
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-q.wake:
	case <-over:
		timedOut = true
	case <-ctx.Done():
		return false, ctx.Err()
	case <-p.revoked:
	case <-c.life.Done():
		return false, ErrClosed
	}
	return timedOut, p.usable()
}

// enqueue enters one more at the end of the queue. With Cache.mu.
func (p *pool) enqueue() *queued {
	q := &queued{wake: make(chan struct{}, 1)}
	q.inQueue.value = q
	q.inQueue.moveTo(&p.queue)
	p.waits++
	return q
}

// dequeue takes out one that has come at some time, and has the next look whether it
// fits. With Cache.mu.
func (p *pool) dequeue(q *queued, came time.Time) {
	q.inQueue.moveTo(nil)
	p.waited += time.Since(came)
	p.more()
}

// more has the first of those who wait look: there is more room than before, or less is
// needed, or it is first only now. With Cache.mu.
func (p *pool) more() {
	q := p.queue.front()
	if q == nil {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
