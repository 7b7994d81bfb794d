package cache

import (
	"context"
	"errors"
	"maps"
	"testing/synctest"
	"time"

	"hbmfs/cache/index"
)

// fakePinned is a fakeSource of which things are pinned.
type fakePinned struct {
	*fakeSource
	retained, released int // guarded by mu
}

func (s *fakePinned) Retain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retained++
}

func (s *fakePinned) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released++
}

// holds is how many Retains no Release has followed yet.
func (s *fakePinned) holds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retained - s.released
}

// pinned is what a driver knows of a pinned extent.
type pinned struct {
	key FileKey
	index.Span
	until time.Time
}

// pinAsked is a Pin under way.
type pinAsked struct {
	src      *fakePinned
	off, n   int64
	until    time.Time // or later
	whole    bool      // nothing was unpinned, forgotten or revoked since
	stop     context.CancelFunc
	out      chan pinOutcome
	finished bool
}

type pinOutcome struct {
	pinned, next int64
	err          error
}

// pinsNow lists what alice has pinned.
func (g *rig) pinsNow() map[*extent]pinned {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make(map[*extent]pinned)
	if p := g.pools[alice]; p != nil && p.open && !p.isRevoked() {
		for _, f := range p.files {
			for n := f.index.First(); n != nil; n = n.Next() {
				if e := extentAt(n.Value); e.pin != nil {
					all[e] = pinned{f.key, e.span(), e.pin.until}
				}
			}
		}
	}
	return all
}

// pinTimes are for how long things are pinned.
var pinTimes = []time.Duration{0, testTimeout / 4, testTimeout, 3 * testTimeout}

func (d *driver) pin(src *fakePinned, off, n int64, b int) {
	ctx, stop := context.WithCancel(d.t.Context())
	a := &pinAsked{src: src, off: off, n: n, whole: true, stop: stop, out: make(chan pinOutcome, 1)}
	lasts := pinTimes[b%len(pinTimes)]
	if lasts > 0 {
		a.until = time.Now().Add(lasts)
	}
	go func() {
		var o pinOutcome
		o.pinned, o.next, o.err = d.Pin(ctx, src, alice, off, n, lasts)
		a.out <- o
	}()
	d.pinning = append(d.pinning, a)
}

// unpinned is told that pins of a file end; nil: of all.
func (d *driver) unpinned(key *FileKey) {
	for _, a := range d.pinning {
		a.whole = a.whole && key != nil && a.src.key != *key
	}
	maps.DeleteFunc(d.pins, func(_ *extent, p pinned) bool { return key == nil || p.key == *key })
}

// unpin checks that just the pins that have a byte of the range end.
func (d *driver) unpin(key FileKey, off, n int64) {
	before, want := d.pinsNow(), int64(0)
	got := d.rig.unpin(alice.UID, key, off, n)
	maps.DeleteFunc(before, func(_ *extent, p pinned) bool {
		ends := p.key == key && n > 0 && p.Overlaps(index.Span{From: off, To: off + n})
		if ends {
			want += p.Len()
		}
		return ends
	})
	if after := d.pinsNow(); got != want || !maps.Equal(before, after) {
		d.t.Fatalf("unpin [%d, +%d): %d bytes, want %d; left %v, want %v", off, n, got, want, after, before)
	}
	d.pins = before
	for _, a := range d.pinning {
		a.whole = a.whole && a.src.key != key
	}
}

// evicts checks that what is of a range goes, and nothing else.
func (d *driver) evicts(src *fakePinned, off, n int64) {
	before := d.residents()
	want := int64(0)
	maps.DeleteFunc(before, func(e *extent, p pinned) bool {
		goes := p.key == src.key && n > 0 && p.Overlaps(index.Span{From: off, To: off + n}) && e.leases == 0 && e.pin == nil
		if goes {
			want += p.Len()
		}
		return goes
	})
	got := d.drop(alice.UID, src.key, off, n)
	if after := d.residents(); got != want || !maps.Equal(before, after) {
		d.t.Fatalf("evict [%d, +%d): %d bytes, want %d; left %v, want %v", off, n, got, want, after, before)
	}
}

// residents lists what is in alice's table and resident.
func (g *rig) residents() map[*extent]pinned {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make(map[*extent]pinned)
	if p := g.pools[alice]; p != nil && p.open && !p.isRevoked() {
		for _, f := range p.files {
			for n := f.index.First(); n != nil; n = n.Next() {
				if e := extentAt(n.Value); e.state == resident {
					all[e] = pinned{key: f.key, Span: e.span()}
				}
			}
		}
	}
	return all
}

// collectPins takes in what was pinned, and checks that nothing else was, and that
// what was pinned before is so still.
func (d *driver) collectPins() {
	synctest.Wait()
	now := d.pinsNow()
	for e, was := range d.pins {
		is, ok := now[e]
		switch expired := !was.until.IsZero() && !was.until.After(time.Now()); {
		case ok && is.key == was.key && is.Span == was.Span && !outlasts(was.until, is.until):
		case !ok && (expired || covered(now, was)):
		default:
			d.t.Fatalf("%+v was pinned, and is %v, %+v", was, ok, is)
		}
	}
	for e, p := range now {
		if _, ok := d.pins[e]; !ok && !d.isAsked(p) || !p.until.IsZero() && !p.until.After(time.Now()) {
			d.t.Fatalf("%+v is pinned, at %v", p, time.Now())
		}
	}
	d.pins = now
	d.checkBudget()
	for _, a := range d.pinning {
		select {
		case o := <-a.out:
			a.stop()
			a.finished = true
			d.pinOver(a, o)
		default:
		}
	}
	unfinished := d.pinning[:0]
	for _, a := range d.pinning {
		if !a.finished {
			unfinished = append(unfinished, a)
		}
	}
	d.pinning = unfinished
}

// covered reports whether something else is pinned that has all of p, for as long.
func covered(now map[*extent]pinned, p pinned) bool {
	for _, o := range now {
		if o.key == p.key && o.Contains(p.Span) && !outlasts(p.until, o.until) {
			return true
		}
	}
	return false
}

func (d *driver) isAsked(p pinned) bool {
	for _, a := range d.pinning {
		if a.src.key == p.key && p.Overlaps(index.Span{From: a.off, To: a.off + a.n}) {
			return true
		}
	}
	return false
}

func (d *driver) checkBudget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.pools[alice]
	if p == nil || !p.open {
		return
	}
	held, frames := p.memory.PinnedBytes(), p.memory.PinnedFrames()
	if held > p.region.Size()/2 || frames > 3*d.frames/4 {
		d.t.Fatalf("pins hold %d of %d bytes, %d of %d frames", held, p.region.Size(), frames, d.frames)
	}
}

// pinOver checks that all is pinned that a Pin said is.
func (d *driver) pinOver(a *pinAsked, o pinOutcome) {
	end := min(a.off+a.n, a.src.size)
	switch {
	case o.err != nil && (o.pinned > 0 || a.src.unsettled != errors.Is(o.err, ErrUnsettled)):
		d.t.Fatalf("%d bytes, and %v", o.pinned, o.err)
	case o.err != nil:
		return
	case o.next == 0 && a.off < end && a.off+o.pinned != end, o.next > 0 && a.off+o.pinned != o.next:
		d.t.Fatalf("pin [%d, %d): %d bytes, next %d", a.off, end, o.pinned, o.next)
	}
	for at := a.off; a.whole && at < a.off+o.pinned; {
		next := at
		for _, p := range d.pins {
			if p.key == a.src.key && p.From <= at && p.To > next && !outlasts(a.until, p.until) {
				next = p.To
			}
		}
		if next == at && (a.until.IsZero() || a.until.After(time.Now())) {
			d.t.Fatalf("byte %d of [%d, +%d) is not pinned until %v: %v", at, a.off, o.pinned, a.until, d.pins)
		}
		if at = next; next == a.off || a.until.Before(time.Now()) {
			return
		}
	}
}
