package cache

import (
	"testing"
	"testing/synctest"
)

// TestPrefetch: what was prefetched is there for the Fetch that follows, which has not
// hit it but joined, and is nobody's until then.
func TestPrefetch(t *testing.T) { synctest.Test(t, prefetch) }

func prefetch(t *testing.T) {
	g := newRig(t, 4)
	src := newSource(3, 1000)
	g.Prefetch(t.Context(), src, alice, 0, 1000)
	if len(src.pending) > 0 {
		t.Fatal("there was no pool to fetch into")
	}
	g.touch(autoSource(4, 10), 0, 10) // makes the pool
	before := g.Stats()
	g.Prefetch(t.Context(), src, alice, 0, 1000)
	g.Prefetch(t.Context(), src, alice, 0, 1000)
	if len(src.pending) != 1 || g.Stats().Leases != 0 {
		t.Fatalf("%d transfers, %d leases", len(src.pending), g.Stats().Leases)
	}
	early := g.await(t.Context(), src, 0, 1000)
	g.waiting(early)
	src.complete()
	first := <-early
	if first.err != nil {
		t.Fatal(first.err)
	}
	g.check(first.lease, src.key)
	again := g.get(src, 0, 1000)
	if first.lease.Segments()[0].Hit || !again.Segments()[0].Hit {
		t.Error("the first is a hit, or the second is none")
	}
	if s := g.Stats(); s.Misses != before.Misses+1 || s.Expected != before.Expected+1 || s.Joined != before.Joined || s.Hits != before.Hits+1 {
		t.Errorf("%+v, before %+v", s, before)
	}
	first.lease.Release()
	again.Release()

	late := autoSource(5, 1000)
	g.Prefetch(t.Context(), late, alice, 0, 1000)
	l := g.get(late, 0, 1000)
	if l.Segments()[0].Hit {
		t.Error("what was there because it was prefetched is a hit")
	}
	l.Release()
	if s := g.Stats(); s.Leases != 0 || s.LeasedBytes != 0 || s.Filling.Extents != 0 {
		t.Errorf("%+v", s)
	}
}

// TestPrefetchInVain: nothing is held where a prefetch fails, is not asked for, or has
// no room.
func TestPrefetchInVain(t *testing.T) {
	g := newRig(t, 4)
	g.touch(autoSource(4, 10), 0, 10)
	src := newSource(3, 1000)
	g.Prefetch(t.Context(), src, alice, 0, 1000)
	src.fail(errBroken)
	if s := g.Stats(); s.Filling.Extents != 0 || s.Errors != 1 {
		t.Errorf("%+v", s)
	}
	full := g.get(autoSource(6, 3*testExtent), 0, 3*testExtent)
	defer full.Release()
	g.Prefetch(t.Context(), newSource(7, 1000), alice, 0, 1000) // a Fetch may want what is left
	unsettled := newSource(8, 1000)
	unsettled.unsettled = true
	g.Prefetch(t.Context(), unsettled, alice, 0, 1000)
	if s := g.Stats(); s.Filling.Extents != 0 || s.Leases != 1 {
		t.Errorf("%+v", s)
	}
	g.touch(autoSource(9, 1000), 0, 1000)
}
