package cache

// aheadBytes is how much memory that was never used is prepared ahead of who needs
// it, in bytes: populating it takes longer than filling it.
const aheadBytes = 16 << 20

// prepareAhead has frames be prepared that will be used next, unless somebody does so.
// With mu.
func (c *Cache) prepareAhead(p *pool) {
	if p.preparing || c.closed || p.frames.unprepared() == nil {
		return
	}
	p.preparing = true
	c.work.Add(1)
	go c.prepareNext(p)
}

// prepareNext prepares a piece of a frame after the other, until there is enough.
func (c *Cache) prepareNext(p *pool) {
	defer c.work.Done()
	for {
		c.mu.Lock()
		f := p.frames.unprepared()
		if f == nil || c.closed || p.isRevoked() {
			p.preparing = false
			c.mu.Unlock()
			return
		}
		s := f.prepare(f.prepared+1, c.cfg.Extent)
		c.mu.Unlock()
		p.region.Prepare(s.from, s.len())
	}
}

// unprepared is the next of the frames that were never used, and soon will be, that is
// not prepared as a whole; nil if all are.
func (fs *frames) unprepared() *frame {
	ahead := max(1, int(min(aheadBytes, int64(len(fs.all))*fs.size/4)/fs.size))
	for i := fs.fresh; i < min(fs.fresh+ahead, len(fs.all)); i++ {
		if fs.all[i].prepared < fs.size {
			return &fs.all[i]
		}
	}
	return nil
}
