package slots

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const testExtent = 16 << 10

// thing is what lies in a slot.
type thing struct {
	slot Slot
	n    int64
	held bool
	pin  bool
}

// rig is a memory under test, and what lies in it.
type rig struct {
	Memory
	t       *testing.T
	things  []*thing
	keys    uint64
	evicted int
}

func newRig(t *testing.T, frames int64) *rig {
	g := &rig{t: t}
	g.Init(frames*testExtent, testExtent, func(s *Slot) {
		th := s.Tag.(*thing)
		if th.held || th.pin {
			t.Fatalf("what is held goes: %+v", th)
		}
		g.evicted++
		g.free(th)
	})
	return g
}

func (g *rig) free(th *thing) {
	g.Free(&th.slot)
	g.things = slices.DeleteFunc(g.things, func(o *thing) bool { return o == th })
}

func (g *rig) letGo(th *thing) {
	g.LetGo(&th.slot)
	th.held = false
}

// bring has things of these sizes brought, and those held that are there, or changes
// nothing.
func (g *rig) bring(p *Plan, keep []*thing, sizes ...int64) (brought []*thing) {
	defer g.Planned()
	p.Held, p.Sizes = nil, sizes
	for _, th := range keep {
		p.Held = append(p.Held, &th.slot)
	}
	if g.Survey(p) > 0 {
		return nil
	}
	for _, th := range keep {
		g.Hold(&th.slot)
		th.held = true
	}
	for i, n := range sizes {
		th := &thing{n: n, held: true}
		th.slot.Tag = th
		g.Take(&th.slot, p.Classes[i], n, p.Pins)
		g.keys++
		g.Enter(&th.slot, g.keys)
		g.things = append(g.things, th)
		brought = append(brought, th)
	}
	return brought
}

// check fails the test if something is not whole where it lies.
func (g *rig) check() {
	g.t.Helper()
	if err := g.Check(); err != nil {
		g.t.Fatal(err)
	}
	for i, th := range g.things {
		from, to := th.slot.Off(), th.slot.Off()+th.slot.Size()
		if th.n > th.slot.Size() || to > g.bytes || th.slot.IsHeld() != th.held {
			g.t.Fatalf("%d bytes in a slot [%d, %d), held %v", th.n, from, to, th.slot.IsHeld())
		}
		for _, o := range g.things[:i] {
			if from < o.slot.Off()+o.slot.Size() && o.slot.Off() < to {
				g.t.Fatalf("slots at %d and %d overlap", from, o.slot.Off())
			}
		}
	}
	if n := len(slices.Collect(g.All())); n != len(g.things) {
		g.t.Fatalf("%d slots in use, want %d", n, len(g.things))
	}
}

func (g *rig) idle() []*thing {
	return slices.DeleteFunc(slices.Clone(g.things), func(th *thing) bool { return th.held })
}

// TestPlansHold: what fits has room, whatever lay there before, and nothing goes that is
// held. What does not is refused with nothing changed.
func TestPlansHold(t *testing.T) {
	var had, refused int
	for seed := range uint64(30) {
		rnd, g := rand.New(rand.NewPCG(seed, 1)), newRig(t, 5)
		for range 300 {
			if rnd.IntN(3) == 0 {
				if len(g.things) > 0 {
					g.end(g.things[rnd.IntN(len(g.things))], rnd.IntN(4))
				}
				continue
			}
			keep := g.idle()
			rnd.Shuffle(len(keep), func(i, j int) { keep[i], keep[j] = keep[j], keep[i] })
			keep = keep[:min(len(keep), rnd.IntN(4))]
			var sizes []int64
			for range 1 + rnd.IntN(6) {
				sizes = append(sizes, 1+rnd.Int64N(testExtent>>rnd.IntN(6)))
			}
			all, evicted, fits := slices.Clone(g.things), g.evicted, g.fits(keep, sizes)
			if g.bring(new(Plan), keep, sizes...) != nil {
				had++
			} else if refused++; fits || !slices.Equal(all, g.things) || g.evicted != evicted {
				t.Fatalf("a plan was refused that fits %v, or has changed something", fits)
			}
			g.check()
		}
	}
	if had < 100 || refused < 100 || t.Failed() {
		t.Errorf("%d plans had room, %d had none", had, refused)
	}
}

// fits reports whether there is room for what is to be brought, each in a slot of the
// size for it, beside what is held and what is kept.
func (g *rig) fits(keep []*thing, sizes []int64) bool {
	held, room, need := make(map[int64]bool), make(map[int64]int), make(map[int64]int)
	for _, th := range g.things {
		if !th.held && !slices.Contains(keep, th) {
			continue
		}
		size, per := g.Fit(th.slot.Size())
		if at := th.slot.Off() / testExtent; !held[at] {
			held[at] = true
			room[size] += per
		}
		room[size]--
	}
	for _, n := range sizes {
		size, _ := g.Fit(n)
		need[size]++
	}
	free := g.Frames() - len(held)
	for size, n := range need {
		_, per := g.Fit(size)
		for n -= room[size]; n > 0; n -= per {
			free--
		}
	}
	return free >= 0
}

// end lets something go, or frees it.
func (g *rig) end(th *thing, how int) {
	switch {
	case how == 0:
		g.free(th)
	case th.held:
		g.letGo(th)
	default:
		g.Hit(&th.slot)
	}
	g.check()
}

// TestPinsLieTogether: what is pinned lies in as few frames as hold it, and leaves some
// to all others.
func TestPinsLieTogether(t *testing.T) {
	const small = testExtent / 16
	g := newRig(t, 8)
	pin := func(n int64) *thing {
		p := &Plan{Pins: g.PlanPins()}
		cl := p.Pins.Bring(n)
		if cl == nil || p.Pins.Bytes() > g.PinBudget() {
			return nil
		}
		p.Classes = append(p.Classes, cl)
		th := g.bring(p, nil, n)[0]
		g.Pin(&th.slot)
		th.pin = true
		return th
	}
	for range 8 * 16 { // fills the memory
		g.letGo(g.bring(new(Plan), nil, small)[0])
	}
	for range 20 {
		pin(small)
	}
	if g.PinnedFrames() != 2 || g.PinnedBytes() < 20*small {
		t.Errorf("20 pins of a sixteenth of a frame have %d bytes of %d frames", g.PinnedBytes(), g.PinnedFrames())
	}
	for pin(small+1) != nil || pin(testExtent) != nil {
		g.check()
	}
	if over := g.PinBudget() - g.PinnedBytes(); over < 0 || over >= 2*testExtent || g.PinnedFrames() > 6 {
		t.Errorf("%d bytes are left of the budget, %d frames have pins", over, g.PinnedFrames())
	}
	g.fitsAll()
	for _, th := range slices.Clone(g.things) {
		if th.pin {
			g.Unpin(&th.slot)
			th.pin = false
			g.letGo(th)
		}
	}
	g.check()
	if g.PinnedFrames() != 0 || g.PinnedBytes() != 0 || g.Available() != 8 {
		t.Errorf("%d frames have pins, %d are available", g.PinnedFrames(), g.Available())
	}
}

// fitsAll checks that beside pins there is room for as many extents as there are frames
// without, and no more.
func (g *rig) fitsAll() {
	free := g.Frames() - g.PinnedFrames()
	for n, want := range map[int]bool{free: true, free + 1: false} {
		p := &Plan{Sizes: slices.Repeat([]int64{testExtent}, n)}
		missing := g.Survey(p)
		if fits := g.FitsBeside(g.Pinned()); fits != want || (missing <= 0) != want {
			g.t.Errorf("%d extents beside pins in %d of %d frames: fit %v, %d missing", n, g.PinnedFrames(), g.Frames(), fits, missing)
		}
		g.Planned()
	}
}

// TestPrepareOnce: each part of the memory once, whatever it is used for.
func TestPrepareOnce(t *testing.T) {
	g := newRig(t, 1024)
	if g.FrameSize() != 8*testExtent {
		t.Fatalf("frames of %d bytes", g.FrameSize())
	}
	var done int64
	for range 20 {
		s := &g.bring(new(Plan), nil, testExtent/8)[0].slot
		from, to := s.Prepare(testExtent)
		if end := s.Off() + s.Size(); from != done || to < end || to-from > 0 && to-testExtent >= end || to%testExtent != 0 {
			t.Errorf("[%d, %d) is prepared for a slot that ends at %d, [0, %d) was", from, to, end, done)
		}
		done = to
	}
	g.free(g.things[0])
	if from, to := g.bring(new(Plan), nil, testExtent/8)[0].slot.Prepare(testExtent); from < to {
		t.Errorf("[%d, %d) is prepared again", from, to)
	}
}
