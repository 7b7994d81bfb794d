package cache

import (
	"errors"
	"sync"
	"testing"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// TestReserve: reserved regions have numbers of their own, stay as they are while
// the cache fills its own, and end with Close or with the cache.
func TestReserve(t *testing.T) {
	var att fakeAttach
	g := newRig(t, 2, att.use)
	first, err := g.Reserve(alice, 4096)
	if err != nil {
		t.Fatal(err)
	}
	go func() { att.gate <- nil }()
	src := autoSource(3, 2*testExtent)
	g.touch(src, 0, src.size)
	second, err := g.Reserve(bob, 8192)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		r    *Reserved
		dom  transport.Domain
		size int64
	}{{first, alice, 4096}, {second, bob, 8192}} {
		if r, ok := g.find(c.r.ID()); !ok || r.Domain() != c.dom || r.Size() != c.size || c.r.Domain() != c.dom {
			t.Errorf("region %d: %v, %t", c.r.ID(), r, ok)
		}
		for _, b := range c.r.Bytes() {
			if b != 0 {
				t.Fatal("the cache put something into a reserved region")
			}
		}
	}
	if first.ID() != g.firstID || second.ID() != g.firstID+2 {
		t.Errorf("numbers %d and %d, the first is %d", first.ID(), second.ID(), g.firstID)
	}
	if s := g.Stats(); s.Reserved != 2 || s.ReservedBytes != 4096+8192 || s.Regions != 1 {
		t.Errorf("%+v", s)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, ok := g.find(first.ID()); ok || g.provider.regions[0].closed.Load() != 1 {
		t.Error("the region is known after its Close, or was not closed once")
	}
	if s := g.Stats(); s.Reserved != 1 || s.ReservedBytes != 8192 {
		t.Errorf("%+v", s)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := g.find(second.ID()); ok || g.provider.regions[2].closed.Load() == 0 {
		t.Error("the other is known after the cache's Close, or open")
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if len(att.attached) != 1 || len(att.detached) != 1 {
		t.Errorf("%d attached, %d detached: only the cache's own is", len(att.attached), len(att.detached))
	}
	if _, err := g.Reserve(alice, 4096); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestReserveFails(t *testing.T) {
	g := newRig(t, 1)
	g.provider.err = errBroken
	if r, err := g.Reserve(alice, 4096); !errors.Is(err, errBroken) || r != nil {
		t.Errorf("%v, %v", r, err)
	}
	if s := g.Stats(); s.Reserved != 0 || len(g.regions) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestReserveRevoked(t *testing.T) {
	g := newRig(t, 1)
	r, err := g.Reserve(alice, 4096)
	if err != nil {
		t.Fatal(err)
	}
	close(g.provider.regions[0].revoked)
	if _, ok := g.find(r.ID()); ok {
		t.Error("the revoked region is known")
	}
}

// TestRegionStaysOpenInUse: neither the region's Close nor the cache's closes
// what somebody uses by its number.
func TestRegionStaysOpenInUse(t *testing.T) {
	for what, end := range map[string]func(*rig, *Reserved) error{
		"region": func(_ *rig, r *Reserved) error { return r.Close() },
		"cache":  func(g *rig, _ *Reserved) error { return g.Close() },
	} {
		t.Run(what, func(t *testing.T) {
			g := newRig(t, 1)
			r, err := g.Reserve(alice, 4096)
			if err != nil {
				t.Fatal(err)
			}
			fake := g.provider.regions[0]
			ending := make(chan error)
			g.Region(r.ID(), func(device.Region) {
				go func() { ending <- end(g, r) }()
				for ok := true; ok; { // until its number has ended
					g.mu.Lock()
					ok = g.regions[0] != nil && !g.closed
					g.mu.Unlock()
				}
				if fake.closed.Load() != 0 {
					t.Error("closed while it was in use")
				}
			})
			if err := <-ending; err != nil || fake.closed.Load() == 0 {
				t.Errorf("not closed, %v", err)
			}
		})
	}
}

// TestReserveWhileClosing: every region that was made is closed.
func TestReserveWhileClosing(t *testing.T) {
	g := newRig(t, 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				r, err := g.Reserve(alice, 4096)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
				}
				if r.ID()%2 == 0 {
					r.Close()
				}
			}
		})
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for i, r := range g.provider.regions {
		if r.closed.Load() == 0 {
			t.Errorf("region %d of %d is open", i, len(g.provider.regions))
		}
	}
}
