package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hbmfs/cache/internal/list"
	"hbmfs/transport/limits"
)

// headStart is for how long all room is kept for the first of those who wait.
const headStart = 5 * time.Second

// queued is a Fetch that waits for room in a pool.
type queued struct {
	inQueue list.Node[queued]
	ask     *ask
	limit   int
	wake    chan struct{} // has a token when it is to look whether there is room

	turn   bool        // what room there is was offered to it, and it has not looked yet
	shares bool        // it is first, and has been so for headStart
	lapse  *time.Timer // sets shares; nil: it is not first
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
func (c *Cache) awaitRoom(ctx context.Context, p *pool, a ask, limit int) (*Lease, error) {
	share, err := c.waits.Take(p.user(), 1)
	if err != nil {
		return nil, err
	}
	defer share.Leave()
	came := time.Now()
	q := c.enqueue(p, &a, limit)
	defer c.dequeue(p, q, came)
	over := time.NewTimer(a.until.Sub(came))
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
			return nil, fmt.Errorf("after %v: %w", time.Since(came).Round(time.Millisecond), err)
		}
		p.pass(q)
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

// enqueue enters one more at the end of the queue. With mu.
func (c *Cache) enqueue(p *pool, a *ask, limit int) *queued {
	q := &queued{ask: a, limit: limit, wake: make(chan struct{}, 1)}
	q.inQueue.Value = q
	q.inQueue.MoveTo(&p.queue)
	p.waits++
	c.lead(p)
	return q
}

// dequeue takes out one that has come at some time, and offers what room there is to
// the next. With mu.
func (c *Cache) dequeue(p *pool, q *queued, came time.Time) {
	p.pass(q)
	q.inQueue.MoveTo(nil)
	p.waited += time.Since(came)
	if q.lapse != nil {
		q.lapse.Stop()
		c.lead(p)
		p.more()
	}
}

// lead begins the time for which the first has all room to itself, if it is that only
// now. With mu.
func (c *Cache) lead(p *pool) {
	q := p.queue.Front()
	if q == nil || q.lapse != nil {
		return
	}
	q.lapse = time.AfterFunc(headStart, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if q.inQueue.In() != nil {
			q.shares = true
			p.more()
		}
	})
}

// more offers what room there is to those who wait, the first of them first: there is
// more than before, or less is needed, or it is the first only now. With mu.
func (p *pool) more() {
	if q := p.queue.Front(); q != nil {
		q.offer()
	}
}

// pass offers what was offered to q to the next, if the first has no more than its
// place. With mu.
func (p *pool) pass(q *queued) {
	if !q.turn {
		return
	}
	q.turn = false
	if next := q.inQueue.Next(); next != nil && p.queue.Front().shares {
		next.Value.offer()
	}
}

func (q *queued) offer() {
	q.turn = true
	q.rouse()
}

// rouse has q look.
func (q *queued) rouse() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// touched has all look who want what lies in the same blocks as an extent of the table
// that is under way, resident or gone since just now: they may need less room, or none.
// With mu.
func (p *pool) touched(e *extent) {
	if e.file == nil {
		return
	}
	for n := p.queue.First(); n != nil; n = n.Next() {
		if a := n.Value.ask; a.settled && a.key == e.file.key && a.near(e.span()) {
			n.Value.rouse()
		}
	}
}

// keeps reports whether room is kept for another than q, who is nil if it does not wait:
// for the first of those who wait, as long as that has not been first for headStart; then
// only what it has not seen yet, and what is enough for it. With mu.
func (c *Cache) keeps(p *pool, q *queued) bool {
	first := p.queue.Front()
	switch {
	case first == nil || first == q:
		return false
	case !first.shares:
		return true
	}
	return first.turn && c.suffices(p, first)
}

// suffices reports whether there is room for one that waits. With mu.
func (c *Cache) suffices(p *pool, q *queued) bool {
	l := c.lease(p, *q.ask)
	defer c.recycle(l)
	defer p.memory.Planned()
	l.cover(q.limit)
	return l.survey() <= 0
}
