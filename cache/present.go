package cache

import (
	"cmp"
	"slices"

	"hbmfs/cache/index"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// Present leases what is resident of bytes [off, off+length) of a file in the domain's
// device memory. It waits for nothing, brings nothing, and makes no region: between the
// segments there may be gaps, and there may be none at all. Covered and Next say nothing
// of such a lease, and Stats does not count its parts as hits, since it counts no misses
// beside them. The caller, who may copy from the segments by [Lease.Span], releases it:
// Close waits for that. The error wraps [ErrInvalid] or [ErrClosed].
func (c *Cache) Present(src Source, dom transport.Domain, off, length int64) (*Lease, error) {
	a, err := c.newAsk(src, off, length, 1)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	p := c.pool(dom)
	l := c.lease(p, a)
	if p != nil && a.settled {
		l.find(p.files[a.key])
		before := c.stats
		c.hold(l)
		c.stats.Hits, c.stats.Expected = before.Hits, before.Expected
		c.begin(l)
		l.copied = true
		p.transfers++
	}
	l.live, l.keeps = true, true
	c.work.Add(1)
	c.stats.Leases++
	l.judge()
	return l, nil
}

// find adds parts of a file's resident extents that overlap the range, each byte once. With
// mu.
func (l *Lease) find(f *file) {
	at, end := l.ask.off, l.ask.end
	if f == nil || at == end {
		return
	}
	all := f.index.Overlapping(index.Span{From: at, To: end})
	slices.SortFunc(all, func(x, y *index.Entry) int {
		return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(y.To, x.To))
	})
	for _, found := range all {
		e, s := extentAt(found), found.Span
		if s.From, s.To = max(s.From, at), min(s.To, end); e.state == resident && s.Len() > 0 {
			at = l.add(e, s, index.Span{})
		}
	}
}

// judge says what the least direct part is. With mu.
func (l *Lease) judge() {
	l.path, l.why = uapi.PathNone, uapi.WhyBest
	for i, e := range l.parts {
		l.segs[i].Path, l.segs[i].Why = e.path, e.why
		if i == 0 || e.path < l.path {
			l.path, l.why = e.path, e.why
		}
	}
}

// Span is where segment i of the lease is.
func (l *Lease) Span(i int) transport.Span {
	s := &l.segs[i]
	return transport.Span{Mem: l.pool.region, Off: s.RegionOff, Len: s.Len}
}
