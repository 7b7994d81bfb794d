package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/limits"
)

func pinnable(ino uint64, size int64) *fakePinned {
	return &fakePinned{fakeSource: autoSource(ino, size)}
}

// pin pins a range for alice, which must succeed for all of it.
func (g *rig) pin(src *fakePinned, off, n int64, d time.Duration) {
	g.t.Helper()
	want := max(0, min(n, src.size-off))
	got, next, err := g.Pin(context.Background(), src, alice, off, n, d)
	if err != nil || got != want || next != 0 {
		g.t.Fatalf("pin [%d, +%d) of file %d: %d bytes, next %d, %v; want %d", off, n, src.key.Ino, got, next, err, want)
	}
}

// held is how much memory alice's pins hold.
func (g *rig) held() int64 {
	for _, u := range g.Pins().Users {
		if u.UID == alice.UID {
			return u.Held
		}
	}
	return 0
}

func (g *rig) scan(ino uint64, extents int64) {
	src := autoSource(ino, extents*testExtent)
	for i := range extents {
		g.touch(src, i*testExtent, testExtent)
	}
}

// TestPinSurvivesScan: what is pinned stays whatever is fetched, and goes with the
// rest when it is unpinned. Its file is kept open for as long.
func TestPinSurvivesScan(t *testing.T) {
	g := newRig(t, 8)
	src := pinnable(1, 3*testExtent+100)
	g.pin(src, 0, 1<<40, 0)
	for range 3 {
		g.scan(2, 30)
	}
	before, p := g.Stats(), g.Pins()
	g.touch(src.fakeSource, 0, src.size)
	if s := g.Stats(); s.Hits-before.Hits != 4 || s.Misses != before.Misses || src.holds() != 1 {
		t.Errorf("after a scan: %+v, was %+v; held %d times", s, before, src.holds())
	}
	want := Pins{Files: 1, Extents: 4, Bytes: src.size, Held: 3*testExtent + 512}
	user := UserPins{UID: alice.UID, Files: 1, Extents: 4, MaxExtents: maxPins, Bytes: want.Bytes, Held: want.Held, Budget: 4 * testExtent}
	if p.Files != want.Files || p.Extents != want.Extents || p.Bytes != want.Bytes || p.Held != want.Held || len(p.Users) != 1 || p.Users[0] != user {
		t.Errorf("%+v", p)
	}
	if n := g.unpin(bob.UID, src.key, 0, 1<<40); n != 0 {
		t.Errorf("another user unpinned %d bytes", n)
	}
	if n := g.unpin(alice.UID, src.key, testExtent, 1); n != testExtent {
		t.Errorf("one extent: %d bytes", n)
	}
	if n := g.unpinAll(alice.UID); n != src.size-testExtent || g.held() != 0 {
		t.Errorf("all: %d bytes; %d are held", n, g.held())
	}
	g.scan(2, 30)
	if g.has(src.fakeSource, 0) {
		t.Error("it stays without a pin")
	}
}

// TestPinBudget: pins hold half of the pool, a range is pinned as far as that goes, and
// what is pinned twice counts once.
func TestPinBudget(t *testing.T) {
	g := newRig(t, 8)
	src := pinnable(1, 6*testExtent)
	for range 2 {
		got, next, err := g.Pin(context.Background(), src, alice, 0, src.size, 0)
		if got != 4*testExtent || next != got || err != nil {
			t.Fatalf("%d bytes, next %d, %v", got, next, err)
		}
	}
	if _, _, err := g.Pin(context.Background(), src, alice, 4*testExtent, 1, 0); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "65536 bytes of the 65536") {
		t.Errorf("%v", err)
	}
	g.pin(src, 100, 2*testExtent, 0)
	if g.held() != 4*testExtent {
		t.Errorf("%d bytes are held", g.held())
	}
}

// TestPinFiles: there is a bound on the files that have pins, of which one user leaves
// some for others, and each file counts until its last pin has ended.
func TestPinFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, 8, func(c *Config) { c.PinFiles = 4 })
		files := []*fakePinned{pinnable(1, 2*testExtent), pinnable(2, 100), pinnable(3, 100)}
		for _, src := range files[:2] {
			g.pin(src, 0, src.size, 0)
		}
		_, _, err := g.Pin(context.Background(), files[2], alice, 0, 100, 0)
		if !errors.Is(err, limits.ErrLimit) || !strings.Contains(err.Error(), `files with pins: client "uid 1000" has 2, and the 2 of 4`) {
			t.Errorf("a third file: %v", err)
		}
		if p := g.Pins(); p.Files != 2 || p.MaxFiles != 4 || files[2].holds() != 0 {
			t.Errorf("%+v; held %d times", p, files[2].holds())
		}
		if n, _, err := g.Pin(context.Background(), files[2], bob, 0, 100, 0); n != 100 || err != nil {
			t.Errorf("another user: %d bytes, %v", n, err)
		}
		g.unpin(alice.UID, files[0].key, 0, 1)
		if _, _, err := g.Pin(context.Background(), files[2], alice, 0, 100, 0); !errors.Is(err, limits.ErrLimit) {
			t.Errorf("a file has a pin left: %v", err)
		}
		g.unpin(alice.UID, files[0].key, 0, 1<<40)
		g.unpinAll(bob.UID)
		g.pin(files[2], 0, 100, 0)
		synctest.Wait()
		for i, want := range []int{0, 1, 1} {
			if n := files[i].holds(); n != want {
				t.Errorf("file %d is held %d times, want %d", i, n, want)
			}
		}
	})
}

// TestPinCount: there is a bound on the extents that a user has pinned on a device.
func TestPinCount(t *testing.T) {
	defer func(was int) { maxPins = was }(maxPins)
	maxPins = 3
	g := newRig(t, 8)
	src := pinnable(1, testExtent)
	for i := range int64(3) {
		g.pin(src, i*1000, 10, 0)
	}
	if _, _, err := g.Pin(context.Background(), src, alice, 5000, 10, 0); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "3 extents pinned, of the 3") {
		t.Errorf("%v", err)
	}
	g.pin(src, 1000, 10, time.Hour)
}

// TestPinOverlap: a range in what is pinned needs no more, and what is pinned in what
// is pinned later counts no more, unless it lasts longer.
func TestPinOverlap(t *testing.T) {
	g := newRig(t, 8)
	src := pinnable(1, 2*testExtent)
	g.pin(src, 100, 1000, time.Hour)
	g.pin(src, 5000, 1000, 0)
	g.touch(src.fakeSource, 0, testExtent)
	if g.pin(src, 100, 1000, 0); g.held() > 3000 {
		t.Errorf("%d bytes are held: more than what was asked for", g.held())
	}
	g.pin(src, 0, testExtent, time.Hour)
	if n := g.Pins().Extents; n != 3 {
		t.Errorf("%d extents, of which two last longer", n)
	}
	if g.pin(src, 0, 2*testExtent, 0); g.held() < 2*testExtent {
		t.Errorf("%d bytes are held", g.held())
	}
	g.unpinAll(alice.UID)
	g.pin(src, 100, 1000, time.Hour)
	if g.pin(src, 0, testExtent, 0); g.held() != testExtent {
		t.Errorf("%d bytes are held: one is in the other", g.held())
	}
}

// TestPinExpires: pins end when their time is over; the longer time counts.
func TestPinExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, 8)
		one, two, three := pinnable(1, testExtent), pinnable(2, testExtent), pinnable(3, testExtent)
		g.pin(one, 0, one.size, 3*time.Second)
		g.pin(two, 0, two.size, time.Second)
		g.pin(three, 0, three.size, time.Second)
		g.pin(one, 0, one.size, 2*time.Second)
		g.pin(three, 0, three.size, 0)
		for _, want := range []int64{3, 2, 2, 1, 1} {
			if got := g.held() / testExtent; got != want {
				t.Errorf("%d extents are pinned, want %d", got, want)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if one.holds()+two.holds() != 0 || three.holds() != 1 {
			t.Errorf("kept open: %d, %d, %d", one.holds(), two.holds(), three.holds())
		}
	})
}

// TestPinOfVersion: pins end with their version, and no more of it is pinned.
func TestPinOfVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, 8)
		src := pinnable(1, 3*testExtent)
		g.pin(src, 0, src.size, 0)
		lease := g.get(src.fakeSource, 0, 10)
		g.Forget(src.key)
		synctest.Wait()
		if g.held() != 0 || src.holds() != 0 || g.has(src.fakeSource, 0) {
			t.Errorf("%d bytes are held, %d times", g.held(), src.holds())
		}
		g.check(lease, src.key)
		lease.Release()
		src.auto = false
		out := make(chan error)
		go func() {
			_, _, err := g.Pin(context.Background(), src, alice, 0, 10, 0)
			out <- err
		}()
		synctest.Wait()
		g.Forget(src.key)
		src.complete()
		if err := <-out; !errors.Is(err, transport.ErrStale) {
			t.Errorf("forgotten while it came: %v", err)
		}
	})
}

// TestPinOfRevoked: pins end with their region, whether or not anybody asks for another.
func TestPinOfRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, 8)
		src := pinnable(1, 3*testExtent)
		g.pin(src, 0, src.size, 0)
		close(g.provider.regions[0].revoked)
		synctest.Wait()
		if src.holds() != 0 || g.held() != 0 || len(g.Users()) != 0 {
			t.Errorf("kept open %d times, %d bytes are held, users %+v", src.holds(), g.held(), g.Users())
		}
	})
}

// TestPinInterrupted: what came before a Pin is broken off stays pinned.
func TestPinInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, 8)
		src := pinnable(1, 3*testExtent)
		src.auto = false
		ctx, stop := context.WithCancel(context.Background())
		out := make(chan pinOutcome)
		go func() {
			n, next, err := g.Pin(ctx, src, alice, 0, src.size, 0)
			out <- pinOutcome{n, next, err}
		}()
		synctest.Wait()
		src.complete()
		synctest.Wait()
		stop()
		if o := <-out; o.pinned != testExtent || o.next != testExtent || o.err != nil || g.held() != testExtent {
			t.Errorf("%+v, %d bytes are held", o, g.held())
		}
		src.complete()
		if _, _, err := g.Pin(ctx, src, alice, 0, src.size, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("before any came: %v", err)
		}
	})
}

// TestPinUnsettled: what is not kept can't be pinned.
func TestPinUnsettled(t *testing.T) {
	g := newRig(t, 2)
	src := pinnable(1, 10)
	src.unsettled = true
	if _, _, err := g.Pin(context.Background(), src, alice, 0, 10, 0); !errors.Is(err, ErrUnsettled) {
		t.Error(err)
	}
}

// TestPinScattered: pins of small extents that lie in all frames leave some for others,
// and those that have to move are fetched anew.
func TestPinScattered(t *testing.T) {
	const slots, frames = 16, 8
	g := newRig(t, frames)
	src := pinnable(1, slots*frames*1024)
	for i := range int64(slots * frames) {
		g.sample(src, i*1024)
	}
	for i := range int64(frames) { // one in each
		g.pin(src, i*slots*1024, 1024, 0)
	}
	if n := g.Pins().Extents; n != frames {
		t.Errorf("%d extents are pinned", n)
	}
	g.scan(2, 20)
	for i := range int64(frames) {
		if !g.has(src.fakeSource, i*slots*1024) {
			t.Errorf("pin %d has gone", i)
		}
	}
}

// TestPinMix: pins of any sizes, of what is there or not, are accepted up to the budget,
// and what is refused leaves all as it was.
func TestPinMix(t *testing.T) {
	for frames, seeds := range map[int64]uint64{5: 20, 8: 20, 32: 3, 200: 1} {
		for seed := range seeds {
			g := newRig(t, frames)
			rnd := rand.New(rand.NewPCG(seed, 2))
			src := pinnable(1, 1000*testExtent)
			budget, at := frames*testExtent/2, int64(0)
			for n := int64(0); ; at += n {
				n = 1 + rnd.Int64N(1<<(1+rnd.IntN(14)))
				g.scattered(src, rnd, at, n)
				before := g.snapshot()
				got, _, err := g.Pin(context.Background(), src, alice, at, n, 0)
				if err == nil && got == n {
					continue
				}
				if p := g.Pins(); budget-p.Users[0].Held >= testExtent || !errors.Is(err, ErrNoSpace) || g.snapshot() != before {
					t.Fatalf("%d frames, seed %d: %d of %d bytes, %v; of %d bytes, pins are %+v\n%s\n%s", frames, seed, got, n, err, budget, p, before, g.snapshot())
				}
				break
			}
			g.verify()
		}
	}
}

// scattered makes a range resident, now and then, and others beside it.
func (g *rig) scattered(src *fakePinned, rnd *rand.Rand, at, n int64) {
	g.t.Helper()
	if rnd.IntN(2) == 0 {
		return
	}
	for i := range int64(4) {
		l, err := g.Fetch(context.Background(), src, alice, at+i*100*testExtent, n, Exact, 10)
		if err != nil {
			g.t.Fatal(err)
		}
		l.Release()
	}
}

// TestPinPacks: pins lie beside others of their size, wherever what they pin was, so that
// small ones in many frames keep out no large ones.
func TestPinPacks(t *testing.T) {
	const slots, frames = 16, 8
	g := newRig(t, frames)
	src, large := pinnable(1, slots*frames*1024), pinnable(2, 3*testExtent)
	for i := range int64(slots * frames) {
		g.sample(src, i*1024)
	}
	for i := range int64(6) {
		g.pin(src, i*slots*1024, 1000, 0)
	}
	if n := g.pools[alice].memory.PinnedFrames(); n != 1 {
		t.Errorf("six pins lie in %d frames", n)
	}
	g.pin(large, 0, large.size, 0)
}

// sample makes a sample of 1024 bytes resident.
func (g *rig) sample(src Source, off int64) {
	g.t.Helper()
	l, err := g.Fetch(context.Background(), src, alice, off, 1024, Exact, 1)
	if err != nil {
		g.t.Fatal(err)
	}
	l.Release()
}

// TestEvict: what nobody holds goes, and nothing else.
func TestEvict(t *testing.T) {
	g := newRig(t, 8)
	src := pinnable(1, 4*testExtent)
	g.touch(src.fakeSource, 0, src.size)
	g.pin(src, 0, 1, 0)
	lease := g.get(src.fakeSource, testExtent, 1)
	if n := g.drop(bob.UID, src.key, 0, src.size); n != 0 {
		t.Errorf("another user's: %d bytes", n)
	}
	if n := g.drop(alice.UID, src.key, 0, 3*testExtent); n != testExtent {
		t.Errorf("%d bytes", n)
	}
	for i, want := range []bool{true, true, false, true} {
		if got := g.has(src.fakeSource, int64(i)*testExtent); got != want {
			t.Errorf("extent %d is there: %v", i, got)
		}
	}
	lease.Release()
}

// TestNoAllocationsWhenPinned: a hit of what is pinned costs what any hit does.
func TestNoAllocationsWhenPinned(t *testing.T) {
	g := newRig(t, 16)
	src := pinnable(1, 4*testExtent)
	g.pin(src, 0, src.size, time.Hour)
	step := func() { g.next(src, 0, 4) }
	step()
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations for each fetch", n)
	}
}
