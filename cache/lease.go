package cache

import (
	"time"

	"hbmfs/cache/index"
	"hbmfs/cache/slots"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// Segment is a span of a region that holds a span of the file. Offsets and length
// are in bytes.
type Segment struct {
	Region    uint32
	RegionOff int64
	FileOff   int64
	Len       int64
	Path      uapi.Path   // how the bytes came
	Why       uapi.Reason // and why not by a better path
	Hit       bool        // they were in device memory already
}

func (s *Segment) span() index.Span { return index.Span{From: s.FileOff, To: s.FileOff + s.Len} }

// Lease pins segments until it is released. It is not for concurrent use, but
// may be handed from one goroutine to another.
type Lease struct {
	cache *Cache
	pool  *pool // nil: the lease is empty
	ask   ask
	segs  []Segment
	path  uapi.Path
	why   uapi.Reason

	// reqs is the batch of transfers that this lease started, and fresh the spans of
	// the region that they are the first to use.
	reqs    []*transport.Request
	fresh   []index.Span
	started time.Time

	spans  []index.Span // of the extents that are new
	plan   slots.Plan   // of their slots
	evicts []*extent    // of a Pin's: what is fetched anew

	// The rest is guarded by Cache.mu. While extents that the lease waits for are
	// filling they know it by its place in parts; one that fails leaves nil there.
	parts   []*extent
	pending int
	err     error
	live    bool          // handed out and not yet released
	copied  bool          // its holder has the region's bytes copied: that is a transfer
	keeps   bool          // the cache open: it is Present's
	wake    chan struct{} // has a token when nothing is pending, or err is set
}

// Segments lists what is pinned, in the file's order. The slice is valid until
// Release.
func (l *Lease) Segments() []Segment { return l.segs }

// Covered is the number of bytes in all segments.
func (l *Lease) Covered() int64 { return l.ask.end - l.ask.off }

// Next is the file offset to go on from: the range needed more segments than
// were allowed. It is 0 when the range is done.
func (l *Lease) Next() int64 { return l.ask.next }

// Path is the least direct of the segments', and PathNone if there are none.
func (l *Lease) Path() uapi.Path { return l.path }

// Why is the reason of the segment that Path is of.
func (l *Lease) Why() uapi.Reason { return l.why }

// Err is nil while the memory is usable. It wraps [transport.ErrRevoked] once
// the region was taken away; the lease must still be released.
func (l *Lease) Err() error {
	if l.pool == nil {
		return nil
	}
	return l.pool.usable()
}

// Release unpins the segments. It must be called exactly once, and the lease not
// be used afterwards: the cache uses it again for another Fetch. A second call
// panics if that has not happened yet.
func (l *Lease) Release() {
	c := l.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if !l.live {
		panic("cache: lease released twice")
	}
	l.live = false
	if l.keeps {
		l.keeps = false
		c.work.Done()
	}
	c.stats.Leases--
	for _, e := range l.parts {
		c.unleaseExtent(e)
	}
	if l.copied {
		c.transferred(l.pool)
	}
	c.recycle(l)
}

// arrived counts an extent that the lease waited for. With mu.
func (l *Lease) arrived(err error) {
	l.pending--
	if l.err == nil {
		l.err = err
	}
	if l.pending > 0 && l.err == nil {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// grant hands the lease out. With mu.
func (c *Cache) grant(l *Lease) {
	l.live = true
	c.stats.Fetches++
	c.stats.Leases++
	c.stats.Asked += l.Covered()
	l.judge()
}

// drop lets go of whatever a lease that is not handed out has or waits for.
// With mu.
func (c *Cache) drop(l *Lease) {
	for _, e := range l.parts {
		switch {
		case e == nil:
		case e.state == filling:
			e.desert(l)
		default:
			c.unleaseExtent(e)
		}
	}
	c.recycle(l)
}

// lease takes a lease that nobody uses. With mu.
func (c *Cache) lease(p *pool, a ask) *Lease {
	l := pop(&c.leases)
	if l.cache == nil {
		l.cache, l.wake = c, make(chan struct{}, 1)
	}
	l.pool, l.ask = p, a
	return l
}

// recycle keeps a lease for its next use. No extent knows it any more. With mu.
func (c *Cache) recycle(l *Lease) {
	select {
	case <-l.wake:
	default:
	}
	clear(l.parts)
	l.parts, l.spans, l.reqs, l.segs, l.fresh = l.parts[:0], l.spans[:0], l.reqs[:0], l.segs[:0], l.fresh[:0]
	clear(l.evicts)
	l.evicts, l.plan.Pins = l.evicts[:0], nil
	l.pool, l.err, l.pending, l.copied = nil, nil, 0, false
	l.path, l.why = uapi.PathNone, uapi.WhyBest
	c.leases = append(c.leases, l)
}
