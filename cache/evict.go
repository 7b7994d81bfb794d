package cache

// slotFor returns a frame with a free slot of that class, which is there or made
// by eviction. What the lease being planned still needs is left to be had: frames
// that stay of their class anyway are used up first where others are scarce.
// With mu.
func (c *Cache) slotFor(p *pool, cl *class) *frame {
	fs := &p.frames
	if f := cl.spare.busy.front(); f != nil {
		return f
	}
	if cl.room > 0 && fs.slack() <= 0 {
		f := cl.crowded.front()
		c.evict(f.goner())
		return f
	}
	if f := cl.spare.idle.front(); f != nil {
		return f
	}
	if f := fs.free(cl); f != nil {
		return f
	}
	c.makeRoom(p, cl)
	return c.slotFor(p, cl)
}

// makeRoom evicts what is worth least: a frame that seems dead, or else an extent
// of the class, or else, where that has none, the frame that was used least
// recently. With mu.
func (c *Cache) makeRoom(p *pool, cl *class) {
	fs := &p.frames
	f := fs.idle.front()
	if f != nil && f.class != cl && fs.policy.Dead(f.last) {
		c.clear(f)
		return
	}
	if v := cl.queue.Victim(); v != nil {
		c.evict(v.Value)
		return
	}
	c.clear(f)
}

// goner is an extent in the frame that can go.
func (f *frame) goner() *extent {
	for n := f.extents.first; ; n = n.next {
		if e := n.value; e.goes() {
			return e
		}
	}
}

// clear evicts all that is in an idle frame. With mu.
func (c *Cache) clear(f *frame) {
	for e := f.extents.front(); e != nil; e = f.extents.front() {
		c.evict(e)
	}
}

// evict frees an extent that nothing holds. With mu.
func (c *Cache) evict(e *extent) {
	c.stats.Evictions++
	c.unshare(e)
	c.release(e)
}
