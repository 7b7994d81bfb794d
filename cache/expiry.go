package cache

import (
	"container/heap"
	"time"
)

// expiry is pins that end by themselves, the next to end first.
type expiry []*pin

func (x expiry) Len() int           { return len(x) }
func (x expiry) Less(i, j int) bool { return x[i].until.Before(x[j].until) }

func (x expiry) Swap(i, j int) {
	x[i], x[j] = x[j], x[i]
	x[i].place, x[j].place = i, j
}

// Push implements [heap.Interface].
func (x *expiry) Push(p any) {
	added := p.(*pin)
	added.place = len(*x)
	*x = append(*x, added)
}

// Pop implements [heap.Interface].
func (x *expiry) Pop() any {
	last := len(*x) - 1
	p := (*x)[last]
	(*x)[last] = nil
	*x = (*x)[:last]
	return p
}

// enterExpiry sees to the end of a pin. With mu.
func (c *Cache) enterExpiry(p *pin) {
	if p.until.IsZero() {
		return
	}
	if heap.Push(&c.expiring, p); p.place == 0 {
		c.pinTimer.Reset(time.Until(p.until))
	}
}

// leaveExpiry undoes enterExpiry. With mu.
func (c *Cache) leaveExpiry(p *pin) {
	if !p.until.IsZero() {
		heap.Remove(&c.expiring, p.place)
	}
}

// endExpired ends the pins whose time is over. The timer calls it.
func (c *Cache) endExpired() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.expiring) > 0 && !c.closed {
		p := c.expiring[0]
		if left := time.Until(p.until); left > 0 {
			c.pinTimer.Reset(left)
			return
		}
		c.endPin(p)
	}
}
