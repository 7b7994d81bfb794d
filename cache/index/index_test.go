package index

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	testBits  = 6
	testBlock = 1 << testBits
	testSize  = 5*testBlock + 20
)

// rig is a file under test, and what is in it.
type rig struct {
	File
	blocks Blocks
	t      *testing.T
	rnd    *rand.Rand
	in     []*Entry
}

func newRig(t *testing.T, seed uint64) *rig {
	g := &rig{t: t, rnd: rand.New(rand.NewPCG(seed, 2))}
	g.blocks.Init(testBits)
	g.Init(&g.blocks)
	return g
}

// span is any one of the file that is at most as long as a block; or a block.
func (g *rig) span() (s Span, whole bool) {
	from := g.rnd.Int64N(testSize)
	if whole = g.rnd.IntN(3) == 0; whole {
		from -= from % testBlock
		return Span{from, min(from+testBlock, testSize)}, true
	}
	return Span{from, min(from+1+g.rnd.Int64N(testBlock), testSize)}, false
}

// step adds an entry, if there is none of that span, or ends something of one.
func (g *rig) step() {
	if len(g.in) == 0 || g.rnd.IntN(3) > 0 {
		s, whole := g.span()
		if g.At(s) == nil {
			e := &Entry{Span: s}
			g.Add(e, whole)
			g.in = append(g.in, e)
		}
		return
	}
	i := g.rnd.IntN(len(g.in))
	if e := g.in[i]; e.IsComing() && g.rnd.IntN(3) > 0 {
		g.Came(e)
		return
	}
	g.Remove(g.in[i])
	g.in = slices.Delete(g.in, i, i+1)
}

// look asks for a span, and looks at every entry for it.
func (g *rig) look(s Span) {
	g.t.Helper()
	var here, coming, overlapping, at *Entry
	overlaps := 0
	for _, e := range g.in {
		if e.Overlaps(s) {
			overlaps, overlapping = overlaps+1, e
			if e.IsComing() && (coming == nil || e.From < coming.From) {
				coming = e
			}
		}
		if e.Contains(s) && (here == nil || here.IsComing()) {
			here = e
		}
		if e.Span == s {
			at = e
		}
	}
	if e := g.Find(s); (e == nil) != (here == nil) || e != nil && (e.IsComing() != here.IsComing() || !e.Contains(s)) {
		g.t.Fatalf("%v is found in %+v, and is in %+v", s, e, here)
	}
	if e := g.Coming(s); (e == nil) != (coming == nil) || e != nil && (e.From != coming.From || !e.IsComing()) {
		g.t.Fatalf("of %v %+v is coming, want %+v", s, e, coming)
	}
	if e := g.At(s); e != at {
		g.t.Fatalf("at %v is %+v, want %+v", s, e, at)
	}
	found := g.Overlapping(s)
	for i, e := range found {
		if !e.Overlaps(s) || slices.Contains(found[:i], e) {
			g.t.Fatalf("%v overlaps %v, it says, or twice", e.Span, s)
		}
	}
	if len(found) != overlaps {
		g.t.Fatalf("%d entries have a part of %v, want %d, as %+v", len(found), s, overlaps, overlapping)
	}
}

// TestAgainstScan: what is found is what looking at every entry finds.
func TestAgainstScan(t *testing.T) {
	for seed := range uint64(20) {
		g := newRig(t, seed)
		for range 500 {
			g.step()
			if err := g.Check(); err != nil || g.Len() != len(g.in) {
				t.Fatalf("%d entries, want %d: %v", g.Len(), len(g.in), err)
			}
			for range 5 {
				s, _ := g.span()
				g.look(s)
			}
			if g.rnd.IntN(100) == 0 {
				g.empty()
			}
		}
		from := g.rnd.Int64N(testSize)
		if n := len(g.Overlapping(Span{from, from})) + len(g.Overlapping(Span{from, from - 10})); n != 0 {
			t.Errorf("%d entries have a part of nothing", n)
		}
		if n := len(g.Overlapping(Span{0, 1 << 62})); n != len(g.in) {
			t.Errorf("%d entries have a part of all, want %d", n, len(g.in))
		}
	}
}

// empty clears the file: each entry is told of once, and none is found by then.
func (g *rig) empty() {
	left := g.in
	g.in = nil
	g.Clear(func(e *Entry) {
		i := slices.Index(left, e)
		if i < 0 || g.Find(e.Span) != nil || g.Coming(e.Span) != nil {
			g.t.Fatalf("%v is cleared twice, or found still", e.Span)
		}
		left = slices.Delete(left, i, i+1)
	})
	if err := g.Check(); err != nil || len(left) > 0 || g.Len() > 0 || len(g.more) > 0 {
		g.t.Fatalf("%d entries are left, %d in the file, %d blocks: %v", len(left), g.Len(), len(g.more), err)
	}
}
