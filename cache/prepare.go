package cache

// prepareAhead is how far memory that was never used is prepared ahead of who needs
// it, in bytes: populating it takes longer than filling it.
const prepareAhead = 16 << 20

// prepare has frames be prepared that will be used next, unless somebody does so. With
// mu.
func (c *Cache) prepare(p *pool) {
	fs := &p.frames
	fs.readied = max(fs.readied, fs.fresh)
	if p.preparing || c.closed || fs.readied > fs.fresh+int(prepareAhead>>c.extentBits)/2 || fs.readied == len(fs.all) {
		return
	}
	p.preparing = true
	c.work.Add(1)
	go c.prepareNext(p)
}

// prepareNext prepares one frame after the other, until there are enough of them.
func (c *Cache) prepareNext(p *pool) {
	defer c.work.Done()
	for {
		c.mu.Lock()
		fs := &p.frames
		at := max(fs.readied, fs.fresh)
		if c.closed || p.isRevoked() || at >= min(fs.fresh+int(prepareAhead>>c.extentBits), len(fs.all)) {
			p.preparing = false
			c.mu.Unlock()
			return
		}
		fs.readied = at + 1
		c.mu.Unlock()
		p.region.Prepare(int64(at)<<c.extentBits, c.cfg.Extent)
	}
}
