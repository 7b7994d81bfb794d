package cache

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
)

// exact fetches a range as it is, for alice, and checks the bytes.
func (g *rig) exact(src *fakeSource, off, n int64) *Lease {
	g.t.Helper()
	l, err := g.Fetch(g.t.Context(), src, alice, off, n, Exact, 1000)
	if err != nil {
		g.t.Fatalf("fetch [%d, +%d) of file %d: %v", off, n, src.key.Ino, err)
	}
	g.check(l, src.key)
	return l
}

// tried fetches a range, and returns what that has brought: offsets and lengths.
func (g *rig) tried(src *fakeSource, off, n int64, access Access) (brought [][2]int64, out <-chan outcome) {
	done := make(chan outcome, 1)
	go func() {
		l, err := g.Fetch(g.t.Context(), src, alice, off, n, access, 1000)
		done <- outcome{l, err}
	}()
	synctest.Wait()
	for _, r := range src.pending[len(src.pending)-src.fresh():] {
		brought = append(brought, [2]int64{r.Off, r.Dst.Len})
	}
	return brought, done
}

// fresh is how many requests the latest Submit had, and 0 the next time.
func (s *fakeSource) fresh() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, b := range s.batches {
		n += b
	}
	s.batches = nil
	return n
}

// TestSpans: what is brought for one range after another of a file, while all
// before is under way, and then while it is there.
func TestSpans(t *testing.T) {
	const e, size = testExtent, 4*testExtent + 1000
	type step struct {
		off, n  int64
		access  Access
		brought [][2]int64
	}
	for name, c := range map[string]struct {
		filling bool // what came before is still under way
		steps   []step
	}{
		"a sample is itself": {false, []step{
			{5000, 3000, Exact, [][2]int64{{5000, 3000}}},
			{5000, 3000, Exact, nil},
			{5000, 3000, Run, nil},
			{6000, 100, Exact, nil},
			{6000, 2001, Exact, [][2]int64{{6000, 2001}}},
			{8000, 2, Exact, [][2]int64{{8000, 2}}},
			{7000, 1000, Exact, nil},
		}},
		"a sample over a boundary": {false, []step{
			{e - 10, 20, Exact, [][2]int64{{e - 10, 20}}},
			{e - 5, 10, Exact, nil},
			{e - 5, 10, Run, nil},
			{e, 10, Exact, nil},
			{e - 11, 20, Exact, [][2]int64{{e - 11, 20}}},
		}},
		"a long range": {false, []step{
			{e - 10, 2*e + 30, Exact, [][2]int64{{e - 10, 10}, {e, e}, {2 * e, e}, {3 * e, 20}}},
			{e + 5, 2*e - 10, Exact, nil},
			{2*e - 1, 2, Exact, [][2]int64{{2*e - 1, 2}}},
			{2*e - 1, 2, Run, nil},
		}},
		"a run": {false, []step{
			{100, 10, Run, [][2]int64{{0, e}}},
			{110, e, Run, [][2]int64{{e, e}}},
			{e + 100, 3 * e, Run, [][2]int64{{2 * e, e}, {3 * e, e}, {4 * e, 1000}}},
			{300, 5000, Exact, nil},
		}},
		"a run over a sample": {false, []step{
			{100, 10, Exact, [][2]int64{{100, 10}}},
			{105, 10, Run, [][2]int64{{0, e}}},
			{100, 20, Exact, nil},
		}},
		"within what is under way": {true, []step{
			{5000, 3000, Exact, [][2]int64{{5000, 3000}}},
			{5000, 3000, Exact, nil},
			{5100, 2000, Run, nil},
		}},
		"a part of what is under way": {true, []step{
			{5000, 3000, Exact, [][2]int64{{5000, 3000}}},
			{4000, 2000, Exact, [][2]int64{{4000, 1000}}},
			{7000, 2000, Exact, [][2]int64{{8000, 1000}}},
			{3000, 7000, Exact, [][2]int64{{3000, 1000}, {9000, 1000}}},
			{8000, 1, Run, nil},
			{10500, 1, Run, [][2]int64{{10000, e - 10000}}},
			{2999, 1, Run, [][2]int64{{0, 3000}}},
		}},
		"a run around what is under way": {true, []step{
			{e - 100, 200, Exact, [][2]int64{{e - 100, 200}}},
			{0, 2 * e, Run, [][2]int64{{0, e - 100}, {e + 100, e - 100}}},
			{e, e, Exact, nil},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, 12)
				src := newSource(3, size)
				var outs []<-chan outcome
				for i, s := range c.steps {
					brought, out := g.tried(src, s.off, s.n, s.access)
					if !slices.Equal(brought, s.brought) {
						t.Errorf("step %d, [%d, +%d): brought %v, want %v", i, s.off, s.n, brought, s.brought)
					}
					if outs = append(outs, out); !c.filling {
						src.complete()
					}
				}
				g.verify()
				src.complete()
				for _, out := range outs {
					l := (<-out).lease
					g.check(l, src.key)
					l.Release()
				}
			})
		})
	}
}

// TestSmallFileIsOneExtent: however it is asked for, whole, and then by parts.
func TestSmallFileIsOneExtent(t *testing.T) {
	for _, access := range []Access{Exact, Run} {
		for _, size := range []int64{1, 5000, testExtent} {
			g := newRig(t, 2)
			src := autoSource(3, size)
			for _, r := range [][2]int64{{0, size}, {size / 2, size}, {0, 1}} {
				l, err := g.Fetch(t.Context(), src, alice, r[0], r[1], access, 1)
				if err != nil {
					t.Fatal(err)
				}
				g.check(l, src.key)
				l.Release()
			}
			if s := g.Stats(); s.Misses != 1 || s.Hits != 2 || s.Resident.Bytes != size {
				t.Errorf("%d bytes: %+v", size, s)
			}
		}
	}
}

// TestUnsettledIsExact: nothing is fetched beside the range that nobody may keep.
func TestUnsettledIsExact(t *testing.T) {
	g := newRig(t, 4)
	src := autoSource(3, 3*testExtent)
	src.unsettled = true
	l := g.get(src, 100, testExtent)
	defer l.Release()
	if s := g.Stats(); s.Resident.Bytes != testExtent {
		t.Errorf("%+v", s)
	}
}

// TestAmplification: of random samples, what is fetched is what is asked for.
func TestAmplification(t *testing.T) {
	g := newRig(t, 64)
	rnd := rand.New(rand.NewPCG(1, 1))
	src := autoSource(3, 1000*testExtent)
	for range 1000 {
		n := 1 + rnd.Int64N(3*testExtent)
		g.exact(src, rnd.Int64N(src.size-n), n).Release()
	}
	s := g.Stats()
	if s.fetched() > s.Asked {
		t.Errorf("%d bytes were fetched, %d asked for", s.fetched(), s.Asked)
	}
}

// TestRoomInBusyFramesIsUsedUp: where frames are scarce, that extent goes which
// shares its frame with a leased one, so that the idle frame is left for others.
func TestRoomInBusyFramesIsUsedUp(t *testing.T) {
	g := newRig(t, 2)
	half := func(ino uint64) *fakeSource { return autoSource(ino, testExtent/2) }
	held := g.exact(half(1), 0, testExtent/2) // one frame: this, and the next
	g.exact(half(2), 0, testExtent/2).Release()
	g.exact(half(3), 0, testExtent/2).Release() // the other
	g.exact(half(4), 0, testExtent/2).Release()
	l := g.exact(autoSource(5, 2*testExtent), testExtent/2, 3*testExtent/2)
	g.check(held, half(1).key)
	l.Release()
	held.Release()
	if s := g.Stats(); s.Evictions != 3 || s.Resident.Extents != 3 {
		t.Errorf("%+v: want all to go but what is leased", s)
	}
}
