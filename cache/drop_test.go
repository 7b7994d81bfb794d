package cache

import (
	"context"
	"errors"
	"testing"
)

// tiny makes n extents of one byte resident in one block of a file, and pins some.
func (g *rig) tiny(src *fakePinned, n, pinned int64) {
	g.t.Helper()
	for i := range n {
		l, err := g.Fetch(context.Background(), src, alice, i, 1, Exact, 1)
		if err != nil {
			g.t.Fatal(err)
		}
		l.Release()
		if i < pinned {
			g.pin(src, i, 1, 0)
		}
	}
}

// countedCtx ends when its error was looked at so often.
type countedCtx struct {
	context.Context
	left int
}

func (c *countedCtx) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestDropInSteps: what lets many extents go lets others have the lock in between, and
// can be interrupted.
func TestDropInSteps(t *testing.T) {
	const n = 3 * dropStep
	g := newRig(t, 256)
	src := pinnable(1, testExtent)
	g.tiny(src, n, n)
	steps := func() context.Context { return &countedCtx{context.Background(), 2} }
	bytes, err := g.Unpin(steps(), alice.UID, src.key, 0, n)
	if !errors.Is(err, context.Canceled) || bytes != 2*dropStep || g.Pins().Extents != dropStep {
		t.Errorf("unpin: %d bytes, %v, %d are pinned", bytes, err, g.Pins().Extents)
	}
	bytes, err = g.Evict(steps(), alice.UID, src.key, 0, n)
	if !errors.Is(err, context.Canceled) || bytes != 2*dropStep || g.Stats().Resident.Extents != dropStep {
		t.Errorf("evict: %d bytes, %v, %d are resident", bytes, err, g.Stats().Resident.Extents)
	}
	g.verify()
	g.tiny(src, n, n)
	if bytes, err = g.UnpinAll(steps(), alice.UID); !errors.Is(err, context.Canceled) || bytes != 2*dropStep {
		t.Errorf("unpin all: %d bytes, %v", bytes, err)
	}
	if got := g.unpinAll(alice.UID) + g.drop(alice.UID, src.key, 0, n); got != dropStep+n || g.Stats().Resident.Extents != 0 {
		t.Errorf("%d bytes, %d are resident", got, g.Stats().Resident.Extents)
	}
}

// BenchmarkEvictTiny drops 50 000 extents of one block.
func BenchmarkEvictTiny(b *testing.B) {
	const n = 50000
	g := newRig(b, 4096, func(c *Config) { c.Extent = 1 << 16; c.Devices[0].Pool = 64 << 20 })
	for _, way := range []string{"evict", "forget"} {
		b.Run(way, func(b *testing.B) {
			src := pinnable(1, n)
			for b.Loop() {
				b.StopTimer()
				g.tiny(src, n, 0)
				b.StartTimer()
				if way == "evict" {
					g.drop(alice.UID, src.key, 0, n)
				} else {
					g.Forget(src.key)
				}
			}
		})
	}
}
