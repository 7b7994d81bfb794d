package cache

import (
	"slices"
	"time"

	"hbmfs/cache/index"
)

// ranged is what a driver asks for.
type ranged struct {
	src    *fakeSource
	off, n int64
	access Access
	limit  int
}

func (d *driver) expect(r ranged, until time.Time) wanted {
	return d.model(r.src, r.off, r.n, r.access, r.limit, until)
}

// shared reports whether others have what room there is, though some wait.
func (d *driver) shared() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue) == 0 || d.queue[0].q.shares
}

// line is a place in the queue of a pool.
type line struct {
	ranged
	pool  *pool
	q     *queued
	until time.Time
	out   *outcome // once it is over
}

// lineUp notes who has just come to wait for room.
func (d *driver) lineUp(r ranged, wait time.Duration) *line {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.pools[alice]
	if p == nil || p.queue.Len() != len(d.queue)+1 {
		d.t.Fatalf("[%d, +%d) of %d does not wait behind %d", r.off, r.n, r.src.size, len(d.queue))
	}
	last := p.queue.First()
	for last.Next() != nil {
		last = last.Next()
	}
	l := &line{ranged: r, pool: p, q: last.Value, until: time.Now().Add(wait)}
	d.queue = append(d.queue, l)
	return l
}

// advance takes out those who wait no more, and checks that nobody was served before
// one who came first, nobody waits for longer than he may, and the first not at all if
// there is room for him.
func (d *driver) advance() {
	served := -1
	shared := d.wasShared || d.shared()
	all := slices.Clone(d.queue)
	d.queue = d.queue[:0]
	for i, l := range all {
		switch {
		case d.waits(l):
			d.queue = append(d.queue, l)
		case l.out == nil || l.out.err == nil:
			served = i
		}
	}
	if !shared {
		d.overtaken(all, served)
	}
	for _, l := range d.queue {
		if !time.Now().Before(l.until) || l.pool.isRevoked() {
			d.t.Fatalf("[%d, +%d) still waits", l.off, l.n)
		}
	}
	shared = d.shared()
	for i, l := range d.queue {
		want := d.expect(l.ranged, l.until)
		looks := i == 0 || shared
		if looks && (want.fits || want.never) || len(want.fills) == 0 {
			d.t.Fatalf("[%d, +%d) of %d waits as number %d: fits %v, could never %v, brings %v", l.off, l.n, l.src.size, i, want.fits, want.never, want.fills)
		}
	}
}

// overtaken checks that of those up to the last served one, who was served before one
// who came first had nothing brought.
func (d *driver) overtaken(all []*line, last int) {
	first := slices.IndexFunc(all, d.waits)
	if first < 0 || first > last {
		return
	}
	inTurn := all[:first]
	early := slices.DeleteFunc(slices.Clone(all[first:last+1]), d.waits)
	for _, t := range d.pending[d.known:] {
		wants := func(l *line) bool {
			a := ask{off: l.off, end: min(l.off+l.n, l.src.size), bits: d.extentBits}
			return l.src == t.src && a.near(index.Span{From: t.req.Off, To: t.req.Off + t.req.Dst.Len})
		}
		if slices.ContainsFunc(early, wants) && !slices.ContainsFunc(inTurn, wants) {
			d.t.Fatalf("[%d, +%d) was brought for one who was not first", t.req.Off, t.req.Dst.Len)
		}
	}
}

func (d *driver) waits(l *line) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return l.q.inQueue.In() != nil
}
