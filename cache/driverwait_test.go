package cache

import (
	"slices"
	"time"
)

// ranged is what a driver asks for.
type ranged struct {
	src    *fakeSource
	off, n int64
	access Access
	limit  int
}

func (d *driver) expect(r ranged) wanted { return d.model(r.src, r.off, r.n, r.access, r.limit) }

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
	if p == nil || p.queue.n != len(d.queue)+1 {
		d.t.Fatalf("[%d, +%d) of %d does not wait behind %d", r.off, r.n, r.src.size, len(d.queue))
	}
	l := &line{ranged: r, pool: p, q: p.queue.last.value, until: time.Now().Add(wait)}
	d.queue = append(d.queue, l)
	return l
}

// advance takes out those who wait no more, and checks that nobody was served before
// one who came first, nobody waits for longer than he may, and the first not at all if
// there is room for him.
func (d *driver) advance() {
	served := -1
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
	for _, l := range d.queue {
		if at := slices.Index(all, l); at < served && all[served].pool == l.pool {
			d.t.Fatalf("[%d, +%d) was served, and came after [%d, +%d)", all[served].off, all[served].n, l.off, l.n)
		}
		if !time.Now().Before(l.until) || l.pool.isRevoked() {
			d.t.Fatalf("[%d, +%d) still waits", l.off, l.n)
		}
	}
	if len(d.queue) > 0 {
		first := d.queue[0]
		if want := d.expect(first.ranged); want.fits || want.never {
			d.t.Fatalf("[%d, +%d) of %d waits: fits %v, could never %v", first.off, first.n, first.src.size, want.fits, want.never)
		}
	}
}

func (d *driver) waits(l *line) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return l.q.inQueue.in != nil
}
