package main

import (
	"math/rand/v2"
	"testing"
)

// TestTraces: what the package promises to loaders, of a smaller data set.
func TestTraces(t *testing.T) {
	for _, r := range simulate(4000) {
		ours, lru, best := r.hits[0], r.hits[1], r.hits[len(r.hits)-1]
		share := float64(r.share) / 100
		switch r.trace {
		case "shuffled epochs", "sequential epochs", "another data set, from its 4th epoch":
			if ours < 0.95*share {
				t.Errorf("%s, pool %d %%: %.3f found, want 0.95 of %.2f", r.trace, r.share, ours, share)
			}
		case "two jobs, each its order":
			if ours < 0.9*share { // it takes a while to see that there are two
				t.Errorf("%s, pool %d %%: %.3f found, want 0.9 of %.2f", r.trace, r.share, ours, share)
			}
		case "a scan over a hot set of 5 %":
			if ours < 0.98*best {
				t.Errorf("%s, pool %d %%: %.3f found, %.3f can be", r.trace, r.share, ours, best)
			}
		}
		if ours < lru-0.002 {
			t.Errorf("%s, pool %d %%: %.3f found, by LRU %.3f", r.trace, r.share, ours, lru)
		}
	}
}

// TestTakeover: another data set has what it can have from its fourth epoch on, be
// it larger or smaller than the one before, or fit.
func TestTakeover(t *testing.T) {
	const room = 1000
	for _, n := range []int{500, 2000, 5000, 10000} {
		rnd := rand.New(rand.NewPCG(3, 3))
		keys := append(shuffled(rnd, 4000, 6, 0), shuffled(rnd, n, 6, 1<<32)...)
		tr := trace{keys: keys, warm: 4000*6 + 3*n}
		best := min(1, float64(room)/float64(n))
		if got := tr.ratio(newOurs(room, nil)); got < 0.9*best {
			t.Errorf("then %d things: %.3f found, %.3f can be", n, got, best)
		}
	}
}

// TestBelady: the best possible is that, for a case that can be counted by hand.
func TestBelady(t *testing.T) {
	tr := trace{keys: []uint64{1, 2, 3, 1, 2, 3, 1, 2, 3}}
	if got, want := tr.ratio(newBelady(2, tr.keys)), 4.0/9; got != want {
		t.Errorf("%.3f found, want %.3f", got, want)
	}
	for _, p := range policies {
		if got := tr.ratio(p.make(3, tr.keys)); got != 6.0/9 {
			t.Errorf("%s: %.3f found where all fits", p.name, got)
		}
	}
}
