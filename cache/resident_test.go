package cache

import (
	"testing"
	"testing/synctest"
)

// TestResident: what is there is leased without a transfer, and else nothing changes.
func TestResident(t *testing.T) { synctest.Test(t, testResident) }

func testResident(t *testing.T) {
	g := newRig(t, 8)
	src := newSource(3, 4*testExtent)
	none := func(what string, off, n int64, limit int) {
		t.Helper()
		before := g.Stats()
		if l := g.Resident(src, alice, off, n, limit); l != nil {
			t.Errorf("%s: %+v", what, l.Segments())
			l.Release()
		}
		if after := g.Stats(); after.Leases != before.Leases || after.Misses != before.Misses || after.Hits != before.Hits || after.Fetches != before.Fetches {
			t.Errorf("%s: %+v, was %+v", what, after, before)
		}
	}
	none("no pool", 0, 1, 1)
	out := g.await(t.Context(), src, testExtent, testExtent)
	none("under way", testExtent, 1, 1)
	src.complete()
	(<-out).lease.Release()
	none("another byte", testExtent-1, 2, 2)
	none("nothing", testExtent, 0, 1)
	none("past the end", 4*testExtent, 1, 1)
	none("negative", -1, 1, 1)
	if l := g.Resident(src, bob, testExtent, 1, 1); l != nil {
		t.Error("another domain's was found")
	}
	if l := g.Resident(src, alice, 2*testExtent-10, 20, 1); l != nil {
		t.Error("half of a sample was leased")
	}
	l := g.Resident(src, alice, testExtent+5, 100, 1)
	if l == nil || l.Covered() != 100 || l.Next() != 0 || !l.Segments()[0].Hit || l.Path() != src.path {
		t.Fatalf("%+v", l)
	}
	g.check(l, src.key)
	if s := g.Stats(); s.Leases != 1 || s.LeasedBytes != testExtent {
		t.Errorf("%+v", s)
	}
	l.Release()
	l = g.Resident(src, alice, testExtent, 2*testExtent, 1)
	if l == nil || l.Covered() != testExtent || l.Next() != 2*testExtent {
		t.Fatalf("the first of two extents: %+v", l)
	}
	l.Release()
	none("the second", testExtent, 2*testExtent, 2)
	src.unsettled = true
	none("unsettled", testExtent, 1, 1)
	g.verify()
}

func TestResidentAllocatesNothing(t *testing.T) {
	g := newRig(t, 2)
	src := autoSource(3, testExtent)
	g.touch(src, 0, testExtent)
	if n := testing.AllocsPerRun(1000, func() { g.Resident(src, alice, 17, 4096, 1).Release() }); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}
