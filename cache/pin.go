package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hbmfs/cache/index"
	"hbmfs/cache/internal/list"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// ErrUnsettled: nothing of a source that is not settled is kept, so nothing of it
// can be pinned.
var ErrUnsettled = errors.New("the file may change unnoticed")

// maxPinStep is how many extents Pin brings at a time, at most; and no more than one in
// pinStepShare that a pool holds.
const maxPinStep, pinStepShare = 64, 8

// PinSource is a source whose file stays open, so that its changes are noticed, for
// as long as something of it is pinned.
type PinSource interface {
	Source
	// Retain keeps the file open until Release. It is called with the cache locked,
	// by a Pin of this source only.
	Retain()
	// Release undoes Retain. It may be called long after the Pin.
	Release()
}

// pin keeps an extent in memory for its domain, leased or not.
type pin struct {
	e      *extent
	until  time.Time // zero: for ever
	place  int       // in Cache.expiring, unless until is zero
	inPool list.Node[pin]
}

// pins are those of a pool. Guarded by Cache.mu.
type pins struct {
	all   list.List[pin]
	bytes int64 // of extents
	files int   // that have some of them
}

// PinOptions is what a Pin can ask for.
type PinOptions struct {
	For    time.Duration // how long the pins last; 0: for ever
	Direct bool          // pins nothing that came by host memory
}

// Pinned is what a Pin has pinned.
type Pinned struct {
	Bytes int64       // from the begin of the range on
	Next  int64       // where to go on; 0 once the range is done
	Path  uapi.Path   // the least direct of all
	Why   uapi.Reason // of it
}

// Pin brings bytes [off, off+length) of a file into the domain's device memory, as
// Fetch of an exact range does, and pins the extents that have them: they stay until
// they are unpinned, the time is over, the file is forgotten or the
// cache is closed. What is pinned already counts once, for the longer of the two
// times. The memory of all that a domain has pinned is at most half its pool, in 65536
// extents at most.
//
// It returns what of the range, from off on, is pinned. If only a part could be pinned, that is no error: the
// next Pin, from there on, has it. With an error nothing was pinned. Errors are those of Fetch, [ErrUnsettled],
// [transport.ErrNotDirect],
// [ErrNoSpace] also where the budget is used up, [limits.ErrLimit] where too many files
// have pins, and [transport.ErrStale] where the
// file was forgotten meanwhile.
func (c *Cache) Pin(ctx context.Context, src PinSource, dom transport.Domain, off, length int64, opts PinOptions) (all Pinned, err error) {
	if !src.Settled() {
		return Pinned{}, ErrUnsettled
	}
	for at := off; ; at = all.Next {
		step, err := c.pinStep(ctx, src, dom, at, length-(at-off), opts)
		all.add(step)
		switch {
		case err != nil && all.Bytes > 0:
			all.Next = off + all.Bytes
			return all, nil
		case err != nil || all.Next == 0:
			return all, err
		}
	}
}

// add appends the next part.
func (p *Pinned) add(next Pinned) {
	if next.Bytes > 0 && (p.Bytes == 0 || next.Path < p.Path) {
		p.Path, p.Why = next.Path, next.Why
	}
	p.Bytes += next.Bytes
	p.Next = next.Next
}

// pinStep pins the first few extents of a range.
func (c *Cache) pinStep(ctx context.Context, src PinSource, dom transport.Domain, off, length int64, opts PinOptions) (p Pinned, err error) {
	l, err := c.Fetch(ctx, src, dom, off, length, pinning, c.stepLimit(dom))
	if err != nil {
		return p, err
	}
	defer l.Release()
	if l.pool == nil {
		return p, nil
	}
	if opts.Direct && !l.Path().Direct() {
		return p, fmt.Errorf("%w: path %v, since: %v", transport.ErrNotDirect, l.Path(), l.Why())
	}
	var until time.Time
	if opts.For > 0 {
		until = time.Now().Add(opts.For)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range l.parts {
		if err := c.pinPart(l, e, l.segs[i].span(), src, until); err != nil {
			return p, err
		}
		p.add(Pinned{Bytes: l.segs[i].Len, Path: l.segs[i].Path, Why: l.segs[i].Why})
	}
	p.Next = l.Next()
	return p, nil
}

// stepLimit is how many extents the next step of a Pin brings.
func (c *Cache) stepLimit(dom transport.Domain) int {
	d, err := c.Device(dom.Device)
	if err != nil {
		return 1 // Fetch returns it
	}
	return int(max(1, min(maxPinStep, d.Pool>>c.extentBits/pinStepShare)))
}

// pinned reports whether an extent is that has all of s. With mu.
func (f *file) pinned(s index.Span) bool {
	return slices.ContainsFunc(f.index.Overlapping(s), func(e *index.Entry) bool { return extentAt(e).pin != nil && e.Contains(s) })
}

// pinPart pins an extent for a span of it, or makes the pin last that has the span
// already. With mu.
func (c *Cache) pinPart(l *Lease, e *extent, s index.Span, src PinSource, until time.Time) error {
	if c.closed {
		return ErrClosed
	}
	if err := l.pool.usable(); err != nil {
		return err
	}
	if e.file == nil {
		return transport.ErrStale
	}
	near := e.file.index.Overlapping(e.span())
	for _, o := range near {
		if p := extentAt(o).pin; p != nil && o.Contains(s) {
			c.prolong(p, until)
			return nil
		}
	}
	if err := l.pool.admitPin(e); err != nil {
		return err
	}
	if err := c.retain(e.file, src); err != nil {
		return err
	}
	c.addPin(e, until)
	for _, o := range near { // what e has as well, and for as long
		p := extentAt(o).pin
		if p != nil && p.e != e && e.span().Contains(o.Span) && !outlasts(p.until, until) {
			c.endPin(p)
		}
	}
	return nil
}

// outlasts reports whether a pin until a lasts longer than one until b.
func outlasts(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}

// prolong has a pin last until then, if that is longer. With mu.
func (c *Cache) prolong(p *pin, until time.Time) {
	if outlasts(until, p.until) {
		c.leaveExpiry(p)
		p.until = until
		c.enterExpiry(p)
		p.e.pool.more()
	}
}

// retain keeps a file open that is to have a pin. With mu.
func (c *Cache) retain(f *file, src PinSource) (err error) {
	if f.pins > 0 {
		return nil
	}
	if f.share, err = c.pinFiles.Take(f.pool.user(), 1); err != nil {
		return err
	}
	f.source = src
	f.pool.pins.files++
	src.Retain()
	return nil
}

// unretain undoes retain, later. With mu.
func (c *Cache) unretain(f *file) {
	f.pool.pins.files--
	f.share.Leave()
	if c.unpinned = append(c.unpinned, f.source); len(c.unpinned) == 1 {
		c.work.Go(c.releaseUnpinned)
	}
	f.source, f.share = nil, nil
}

// releaseUnpinned releases what has no pins any more. It takes its time: a user may
// unpin many files at once.
func (c *Cache) releaseUnpinned() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 0; i < len(c.unpinned); i++ {
		s := c.unpinned[i]
		c.unpinned[i] = nil
		c.mu.Unlock()
		s.Release()
		c.mu.Lock()
	}
	c.unpinned = nil
}

// addPin pins an extent of the table that is leased. With mu.
func (c *Cache) addPin(e *extent, until time.Time) {
	p := &pin{e: e, until: until}
	p.inPool.Value = p
	e.pin = p
	e.pool.more() // who waits for room may do so in vain now
	c.enterExpiry(p)
	pool := e.pool
	p.inPool.MoveTo(&pool.pins.all)
	pool.pins.bytes += e.req.Dst.Len
	pool.memory.Pin(&e.slot)
	e.file.pins++
}

// endPin undoes addPin. With mu.
func (c *Cache) endPin(p *pin) {
	e, pool := p.e, p.e.pool
	c.leaveExpiry(p)
	p.inPool.MoveTo(nil)
	pool.pins.bytes -= e.req.Dst.Len
	pool.memory.Unpin(&e.slot)
	if e.file.pins--; e.file.pins == 0 {
		c.unretain(e.file)
	}
	e.pin = nil
	if e.leases == 0 {
		c.idle(e)
	}
}

// endPins ends all pins of a pool. With mu.
func (c *Cache) endPins(p *pool) {
	for at := p.pins.all.Front(); at != nil; at = p.pins.all.Front() {
		c.endPin(at)
	}
}
