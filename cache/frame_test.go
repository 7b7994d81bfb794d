package cache

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestLeastRecentlyLeasedGoesFirst(t *testing.T) {
	g := newRig(t, 4)
	src := autoSource(3, 8*testExtent)
	for i := range int64(4) {
		g.touch(src, i*testExtent, 1)
	}
	held := g.get(src, testExtent, 1) // 1 is leased, 0 used again
	g.touch(src, 0, 1)
	if got, want := g.lru(alice), []string{"3@32768", "3@49152", "3@0"}; !slices.Equal(got, want) {
		t.Errorf("next to go are %v, want %v", got, want)
	}
	g.touch(src, 4*testExtent, 2*testExtent)
	for i, want := range []bool{true, true, false, false, true, true} {
		if got := g.has(src, int64(i)*testExtent); got != want {
			t.Errorf("extent %d resident: %v, want %v", i, got, want)
		}
	}
	if s := g.Stats(); s.Evictions != 2 {
		t.Errorf("%d evictions, want 2", s.Evictions)
	}
	g.check(held, src.key)
	held.Release()
}

// snapshot is all that a refused fetch must leave as it was.
func (g *rig) snapshot() string {
	return fmt.Sprint(g.Stats(), g.resident(alice), g.lru(alice))
}

// TestNoSpace: a refused fetch evicts, pins and starts nothing.
func TestNoSpace(t *testing.T) {
	g := newRig(t, 4)
	src := autoSource(3, 16*testExtent)
	for i := range int64(4) {
		g.touch(src, i*testExtent, 1)
	}
	held := g.get(src, 0, 2*testExtent)
	for name, r := range map[string]struct{ off, n int64 }{
		"more than is free":        {8 * testExtent, 3 * testExtent},
		"more than the pool":       {8 * testExtent, 5 * testExtent},
		"hits would use it up":     {2 * testExtent, 3 * testExtent},
		"hits leased and not":      {0, 5 * testExtent},
		"all of the file, by far":  {0, src.size},
		"from the leased ones on":  {testExtent, 4 * testExtent},
		"one hit and all the rest": {3 * testExtent, 3 * testExtent},
	} {
		before := g.snapshot()
		_, err := g.run(t.Context(), src, alice, r.off, r.n, 100)
		if !errors.Is(err, ErrNoSpace) {
			t.Errorf("%s: %v", name, err)
		}
		if after := g.snapshot(); after != before {
			t.Errorf("%s:\nbefore %s\nafter  %s", name, before, after)
		}
	}
	g.verify()
	g.touch(src, 8*testExtent, 2*testExtent) // exactly what is free
	g.check(held, src.key)
	held.Release()
}

// TestNoSpaceForTail: a short extent needs a frame only if no busy frame has a
// slot for it.
func TestNoSpaceForTail(t *testing.T) {
	g := newRig(t, 2)
	long := autoSource(3, 2*testExtent+100)
	if _, err := g.run(t.Context(), long, alice, 0, long.size, 100); !errors.Is(err, ErrNoSpace) {
		t.Errorf("two frames and a tail in a pool of two: %v", err)
	}
	held := g.get(autoSource(4, 10), 0, 10)
	before := g.snapshot()
	if _, err := g.run(t.Context(), long, alice, 0, long.size, 100); !errors.Is(err, ErrNoSpace) {
		t.Errorf("two frames in a pool of one: %v", err)
	}
	if after := g.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	l := g.get(long, testExtent, testExtent+100) // a frame, and a slot beside the leased one
	l.Release()
	held.Release()
	l = g.get(long, testExtent, testExtent+100) // the tail's frame was idle, and is a hit
	l.Release()
}

// TestIdleSlotFrameIsNotCountedTwice: an idle frame with a slot for the tail
// can't be evicted for a full extent of the same fetch as well.
func TestIdleSlotFrameIsNotCountedTwice(t *testing.T) {
	g := newRig(t, 2)
	g.touch(autoSource(4, 10), 0, 10)
	long := autoSource(3, 2*testExtent+100)
	before := g.snapshot()
	if _, err := g.run(t.Context(), long, alice, 0, long.size, 100); !errors.Is(err, ErrNoSpace) {
		t.Error(err)
	}
	if after := g.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	l := g.get(long, testExtent, testExtent+100)
	l.Release()
}

// TestShortExtentsShareFrames fills a pool of two frames with slots of two sizes.
func TestShortExtentsShareFrames(t *testing.T) {
	g := newRig(t, 2)
	frames := make(map[int64][]int64) // file sizes by frame
	for i, size := range []int64{1, 512, 4097, 5000, 100, 200} {
		src := autoSource(uint64(10+i), size)
		l := g.get(src, 0, size)
		defer l.Release()
		off := l.Segments()[0].RegionOff
		frames[off/testExtent] = append(frames[off/testExtent], size)
	}
	for _, sizes := range frames {
		slices.Sort(sizes)
	}
	small, large := []int64{1, 100, 200, 512}, []int64{4097, 5000}
	if len(frames) != 2 || !slices.Equal(frames[0], small) || !slices.Equal(frames[1], large) {
		t.Errorf("frames hold files of %v, want %v and %v", frames, small, large)
	}
	if _, err := g.run(t.Context(), autoSource(3, 6000), alice, 0, 1, 1); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a third class in two frames: %v", err)
	}
	// What is no larger than their slots gets one there.
	l := g.get(autoSource(4, 600), 0, 600)
	if at := l.Segments()[0].RegionOff; at < testExtent {
		t.Errorf("600 bytes are at %d", at)
	}
	l.Release()
	g.verify()
}

// per is how many extents of n bytes a frame holds.
func (g *rig) per(n int64) int {
	_, per := fit(n)
	return per
}

// TestFramesChangeClass uses one frame for every size of extent in turn.
func TestFramesChangeClass(t *testing.T) {
	g := newRig(t, 1)
	for round := range 3 {
		for i, size := range []int64{100, 4096, 5000, 8192, 8193, testExtent} {
			var leases []*Lease
			per := g.per(size)
			for j := range per {
				src := autoSource(uint64(1000*round+100*i+j), size)
				leases = append(leases, g.get(src, 0, size))
			}
			g.verify()
			for j, l := range leases {
				g.check(l, newSource(uint64(1000*round+100*i+j), size).key)
				l.Release()
			}
			if s := g.Stats(); s.Resident.Extents != int64(per) {
				t.Errorf("%d extents of %d bytes are resident, want %d", s.Resident.Extents, size, per)
			}
		}
	}
}

// TestLeasedSlotKeepsItsFrame: a frame goes only when nothing in it is leased.
func TestLeasedSlotKeepsItsFrame(t *testing.T) {
	g := newRig(t, 1)
	a, b := autoSource(3, 100), autoSource(4, 100)
	held := g.get(a, 0, 100)
	g.touch(b, 0, 100)
	full := autoSource(5, testExtent)
	if _, err := g.run(t.Context(), full, alice, 0, 1, 1); !errors.Is(err, ErrNoSpace) {
		t.Errorf("%v", err)
	}
	g.check(held, a.key)
	held.Release()
	g.touch(full, 0, 1)
	if g.has(a, 0) || g.has(b, 0) || g.Stats().Evictions != 2 {
		t.Error("the frame's extents were not both evicted")
	}
}

// TestFrameIsPreparedOnce: before its first use only, whatever it is used for.
func TestFrameIsPreparedOnce(t *testing.T) {
	g := newRig(t, 3)
	src := autoSource(3, 6*testExtent)
	g.touch(src, 0, 2*testExtent)
	for i := range int64(6) {
		g.touch(src, i*testExtent, 1)
		g.touch(autoSource(uint64(10+i), 100), 0, 100)
	}
	if got, want := g.provider.regions[0].prepared, []int64{0, testExtent, 2 * testExtent}; !slices.Equal(got, want) {
		t.Errorf("prepared %v, want %v", got, want)
	}
}

// TestLargeFrameIsPreparedByExtents: of a frame of several extents, no more than what
// is used.
func TestLargeFrameIsPreparedByExtents(t *testing.T) {
	g := newRig(t, 1024)
	for i := range uint64(9) { // slots of an eighth of an extent
		g.touch(autoSource(i, testExtent/8), 0, 1)
	}
	if got, want := g.provider.regions[0].prepared, []int64{0, testExtent}; !slices.Equal(got, want) || g.pools[alice].memory.FrameSize() != 8*testExtent {
		t.Errorf("prepared %v, want %v", got, want)
	}
	g.verify()
}
