package cache

import (
	"context"
	"math/rand/v2"
	"testing"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// fakeNull is a source whose transfers bring nothing, at once.
type fakeNull struct {
	key  FileKey
	size int64
	done []transport.Completion
}

func (s *fakeNull) Key() FileKey  { return s.key }
func (s *fakeNull) Size() int64   { return s.size }
func (s *fakeNull) Settled() bool { return true }

func (s *fakeNull) Submit(reqs []*transport.Request) {
	s.done = s.done[:0]
	for _, r := range reqs {
		s.done = append(s.done, transport.Completion{Request: r, Result: transport.Result{Path: uapi.PathStaged}})
	}
	transport.Complete(s.done)
}

// next fetches and releases n extents at off, and returns the offset after them.
func (g *rig) next(src Source, off, n int64) int64 {
	l, err := g.run(context.Background(), src, alice, off, n*testExtent, 1000)
	if err != nil {
		g.t.Fatal(err)
	}
	l.Release()
	return (off + n*testExtent) % src.Size()
}

func TestNoAllocations(t *testing.T) {
	for _, c := range []struct {
		name         string
		size, extent int64 // of the file; extents in each fetch
	}{
		{"hit", 8 * testExtent, 1},
		{"hits", 8 * testExtent, 4},
		{"miss", 64 * testExtent, 1},
		{"misses", 64 * testExtent, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, 16)
			src := &fakeNull{size: c.size}
			var off int64
			step := func() { off = g.next(src, off, c.extent) }
			for range 1000 { // until every free list and slice has its size
				step()
			}
			before := g.Stats()
			if n := testing.AllocsPerRun(1000, step); n != 0 {
				t.Errorf("%v allocations for each fetch", n)
			}
			after := g.Stats()
			hits, misses := after.Hits-before.Hits, after.Misses-before.Misses
			if miss := c.size > 16*testExtent; miss != (misses > 0) || miss && hits > misses {
				t.Errorf("%d hits and %d misses", hits, misses)
			}
		})
	}
	t.Run("short files", func(t *testing.T) {
		g := newRig(t, 4)
		src := &fakeNull{size: 100}
		step := func() {
			src.key.Ino = (src.key.Ino + 1) % 100
			g.next(src, 0, 1)
		}
		for range 1000 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("%v allocations for each fetch", n)
		}
	})
}

// sampler fetches samples of 4000 bytes of a large file, in no order.
func (g *rig) sampler(samples int) (step func()) {
	rnd := rand.New(rand.NewPCG(1, 1))
	src := &fakeNull{size: int64(samples) * 5000}
	return func() {
		l, err := g.Fetch(context.Background(), src, alice, int64(rnd.IntN(samples))*5000, 4000, Exact, 1)
		if err != nil {
			g.t.Fatal(err)
		}
		l.Release()
	}
}

func TestNoAllocationsForSamples(t *testing.T) {
	for _, samples := range []int{40, 400} { // all fit, or not
		step := newRig(t, 16).sampler(samples)
		for range 20000 {
			step()
		}
		if n := testing.AllocsPerRun(2000, step); n != 0 {
			t.Errorf("%d samples: %v allocations for each fetch", samples, n)
		}
	}
}

func BenchmarkSampleHit(b *testing.B) {
	g := newRig(b, 1024)
	step := g.sampler(4000)
	for range 100000 {
		step()
	}
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}

func BenchmarkSampleMiss(b *testing.B) {
	step := newRig(b, 16).sampler(100000)
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}

func BenchmarkHit(b *testing.B) {
	g := newRig(b, 16)
	src := &fakeNull{size: 8 * testExtent}
	g.next(src, 0, 8)
	b.ReportAllocs()
	var off int64
	for b.Loop() {
		off = g.next(src, off, 1)
	}
}

func BenchmarkHitParallel(b *testing.B) {
	g := newRig(b, 16)
	src := &fakeNull{size: 8 * testExtent}
	g.next(src, 0, 8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var off int64
		for pb.Next() {
			off = g.next(src, off, 1)
		}
	})
}

func BenchmarkHit64(b *testing.B) {
	g := newRig(b, 64)
	src := &fakeNull{size: 64 * testExtent}
	b.ReportAllocs()
	for b.Loop() {
		g.next(src, 0, 64)
	}
}

func BenchmarkMiss(b *testing.B) {
	g := newRig(b, 16)
	src := &fakeNull{size: 64 * testExtent}
	b.ReportAllocs()
	var off int64
	for b.Loop() {
		off = g.next(src, off, 1)
	}
}
