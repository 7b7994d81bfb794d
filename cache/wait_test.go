package cache

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/limits"
)

const testWait = 10 * time.Second

// wait starts a Fetch of whole extents that may wait for room.
func (g *rig) wait(ctx context.Context, src Source, dom transport.Domain, off, n int64) <-chan outcome {
	out := make(chan outcome, 1)
	go func() {
		l, err := g.FetchWithin(ctx, testWait, src, dom, off, n, Run, 1000)
		out <- outcome{l, err}
	}()
	synctest.Wait()
	return out
}

// over returns how a Fetch ended, which must be over.
func (g *rig) over(out <-chan outcome) outcome {
	g.t.Helper()
	synctest.Wait()
	select {
	case o := <-out:
		return o
	default:
		g.t.Fatal("the fetch is not over")
		panic("unreachable")
	}
}

// served is over for one that got what it asked for, of file src.
func (g *rig) served(out <-chan outcome, src *fakeSource) *Lease {
	g.t.Helper()
	o := g.over(out)
	if o.err != nil {
		g.t.Fatal(o.err)
	}
	g.check(o.lease, src.key)
	return o.lease
}

// full makes a pool of n extents of which all is leased, an extent a lease.
func full(t *testing.T, n int64) (g *rig, src *fakeSource, held []*Lease) {
	g = newRig(t, n)
	src = autoSource(1, 100*testExtent)
	for i := range n {
		held = append(held, g.get(src, i*testExtent, testExtent))
	}
	return g, src, held
}

func (g *rig) users(t *testing.T, dom transport.Domain) UserStats {
	t.Helper()
	for _, u := range g.Users() {
		if u.UID == dom.UID && u.Device == dom.Device {
			return u
		}
	}
	t.Fatalf("nothing is told of %v", dom)
	return UserStats{}
}

// bubble runs a test that is told to have a pool of n extents, all leased.
func bubble(t *testing.T, n int64, f func(t *testing.T, g *rig, src *fakeSource, held []*Lease)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g, src, held := full(t, n)
		f(t, g, src, held)
	})
}

// TestWaitInOrder: waiters are served in order of arrival, each as soon as it fits;
// a small one does not overtake a large one, nor does one that does not wait.
func TestWaitInOrder(t *testing.T) {
	bubble(t, 4, func(t *testing.T, g *rig, src *fakeSource, held []*Lease) {
		large := g.wait(t.Context(), src, alice, 10*testExtent, 2*testExtent)
		small := g.wait(t.Context(), src, alice, 20*testExtent, 100)
		last := g.wait(t.Context(), src, alice, 30*testExtent, testExtent)
		if u := g.users(t, alice); u.Waiting != 3 || u.Waits != 3 || u.WaitSeconds != 0 || u.LeasedBytes != 4*testExtent {
			t.Errorf("while three wait: %+v", u)
		}
		time.Sleep(2 * time.Second)
		held[0].Release()
		synctest.Wait()
		g.waiting(large)
		g.waiting(small)
		if _, err := g.run(t.Context(), src, alice, 40*testExtent, 1, 1); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "the 3 that wait") {
			t.Errorf("one that does not wait: %v", err)
		}
		g.touch(src, testExtent, testExtent) // a hit
		held[1].Release()
		first := g.served(large, src)
		g.waiting(small)
		held[2].Release()
		second := g.served(small, src)
		g.waiting(last)
		first.Release()
		g.served(last, src).Release()
		second.Release()
		held[3].Release()
		if u := g.users(t, alice); u.Waiting != 0 || u.WaitSeconds != 6 || u.LeasedBytes != 0 {
			t.Errorf("when all is over: %+v", u)
		}
	})
}

// TestNothingAheadOfWaiters: room that a waiter needs is not used for what is not asked
// for yet.
func TestNothingAheadOfWaiters(t *testing.T) {
	bubble(t, 8, func(t *testing.T, g *rig, src *fakeSource, held []*Lease) {
		out := g.wait(t.Context(), src, alice, 10*testExtent, 8*testExtent)
		for _, l := range held[:7] {
			l.Release()
		}
		synctest.Wait()
		g.Prefetch(t.Context(), src, alice, 50*testExtent, 100)
		if g.has(src, 50*testExtent) {
			t.Error("it was")
		}
		held[7].Release()
		g.served(out, src).Release()
		g.Prefetch(t.Context(), src, alice, 50*testExtent, 100)
		if !g.has(src, 50*testExtent) {
			t.Error("nor when nobody waits")
		}
	})
}

// TestWaitForMore: room for one waiter may be room for several.
func TestWaitForMore(t *testing.T) {
	bubble(t, 2, func(t *testing.T, g *rig, src *fakeSource, held []*Lease) {
		one, two := g.wait(t.Context(), src, alice, 10*testExtent, 100), g.wait(t.Context(), src, alice, 20*testExtent, 100)
		same := g.wait(t.Context(), src, alice, 10*testExtent, 100)
		held[0].Release()
		first := g.served(one, src)
		g.waiting(two)
		held[1].Release()
		for _, l := range []*Lease{first, g.served(two, src), g.served(same, src)} {
			l.Release()
		}
	})
}

// TestWaitEnds: a wait ends with its time, with ctx, with the pool and with the cache;
// who comes next then has his turn, and nothing is left of it.
func TestWaitEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(g *rig, stop func())
		want error
	}{
		"its time": {func(*rig, func()) { time.Sleep(testWait) }, ErrNoSpace},
		"ctx":      {func(_ *rig, stop func()) { stop() }, context.Canceled},
		"revoked":  {func(g *rig, _ func()) { close(g.provider.regions[0].revoked) }, transport.ErrRevoked},
		"closed":   {func(g *rig, _ func()) { g.Close() }, ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(t *testing.T, g *rig, src *fakeSource, held []*Lease) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				before := g.snapshot()
				out := g.wait(ctx, src, alice, 10*testExtent, 2*testExtent)
				if after := g.snapshot(); after != before {
					t.Errorf("waiting changed the pool:\n%s\n%s", before, after)
				}
				c.end(g, stop)
				if o := g.over(out); !errors.Is(o.err, c.want) || o.lease != nil {
					t.Errorf("%v, want %v", o.err, c.want)
				}
				if g.waits.Used() != 0 {
					t.Errorf("%d wait still", g.waits.Used())
				}
				held[0].Release()
				held[1].Release()
			})
		})
	}
}

// TestWaitTurnPasses: the next in the queue fits, once the first has given up.
func TestWaitTurnPasses(t *testing.T) {
	bubble(t, 2, func(t *testing.T, g *rig, src *fakeSource, held []*Lease) {
		ctx, stop := context.WithCancel(t.Context())
		large := g.wait(ctx, src, alice, 10*testExtent, 2*testExtent)
		small := g.wait(t.Context(), src, alice, 20*testExtent, 100)
		held[0].Release()
		synctest.Wait()
		g.waiting(small)
		stop()
		if o := g.over(large); !errors.Is(o.err, context.Canceled) {
			t.Error(o.err)
		}
		g.served(small, src).Release()
		held[1].Release()
	})
}

// TestWaitForTransfers: the end of a transfer makes room too: one that fails, one whose
// fetch gave up, one of a version that is no more, and one that was overdue.
func TestWaitForTransfers(t *testing.T) {
	for name, end := range map[string]func(g *rig, slow *fakeSource, stop func()){
		"failed":   func(_ *rig, slow *fakeSource, _ func()) { slow.fail(errBroken) },
		"deserted": func(_ *rig, slow *fakeSource, stop func()) { stop(); synctest.Wait(); slow.complete() },
		"forgotten": func(g *rig, slow *fakeSource, stop func()) {
			stop()
			synctest.Wait()
			g.Forget(slow.key)
			slow.complete()
		},
		"overdue": func(_ *rig, slow *fakeSource, _ func()) { time.Sleep(testWait / 2); synctest.Wait(); slow.complete() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, 2)
				slow, src := newSource(2, 2*testExtent), autoSource(1, 2*testExtent)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				lost := g.await(ctx, slow, 0, 2*testExtent)
				time.Sleep(testTimeout - testWait/2)
				out := g.wait(t.Context(), src, alice, 0, 2*testExtent)
				g.waiting(out)
				end(g, slow, stop)
				g.served(out, src).Release()
				if o := g.over(lost); o.err == nil {
					t.Error("the transfer was not in vain")
				}
			})
		})
	}
}

// TestWaitNever: what could not fit if all was released fails at once, on arrival or as
// soon as that is so.
func TestWaitNever(t *testing.T) {
	bubble(t, 4, func(t *testing.T, g *rig, src *fakeSource, held []*Lease) {
		for _, r := range []struct{ off, n int64 }{{10 * testExtent, 5 * testExtent}, {0, 5 * testExtent}, {0, src.size}} {
			o := g.over(g.wait(t.Context(), src, alice, r.off, r.n))
			if !errors.Is(o.err, ErrNoSpace) || !errors.Is(o.err, errTooLarge) {
				t.Errorf("[%d, +%d): %v", r.off, r.n, o.err)
			}
		}
		all := g.wait(t.Context(), src, alice, 2*testExtent, 4*testExtent)
		g.waiting(all)
		for _, l := range held {
			l.Release()
		}
		g.served(all, src).Release()
	})
}

// TestWaitOfOthers: each domain's pool has a queue of its own, and so has each device.
func TestWaitOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, 1, func(cfg *Config) { cfg.Devices = append(cfg.Devices, cfg.Devices[0]) })
		src := autoSource(1, 2*testExtent)
		held := g.get(src, 0, testExtent)
		out := g.wait(t.Context(), src, alice, testExtent, testExtent)
		for _, dom := range []transport.Domain{bob, {UID: alice.UID, Device: 1}} {
			l, err := g.run(t.Context(), src, dom, testExtent, testExtent, 1)
			if err != nil {
				t.Fatal(err)
			}
			l.Release()
			if u := g.users(t, dom); u.Waits != 0 || u.RegionBytes != testExtent {
				t.Errorf("%+v", u)
			}
		}
		g.waiting(out)
		held.Release()
		g.served(out, src).Release()
	})
}

// TestWaitersAreBounded, user by user, and who is one too many is told.
func TestWaitersAreBounded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, g *rig, src *fakeSource, held []*Lease) {
		var all []<-chan outcome
		for range 256 {
			all = append(all, g.wait(t.Context(), src, alice, testExtent, testExtent))
		}
		o := g.over(g.wait(t.Context(), src, alice, testExtent, testExtent))
		if !errors.Is(o.err, limits.ErrLimit) || !strings.Contains(o.err.Error(), `client "uid 1000" has 256`) {
			t.Errorf("one too many: %v", o.err)
		}
		held[0].Release()
		for _, out := range all {
			g.served(out, src).Release()
		}
		if s := g.Stats(); s.Misses != 2 {
			t.Errorf("%d misses of one extent that 256 wait for, and one before", s.Misses)
		}
	})
}

// TestWaitBesidePins: what is pinned for longer than a Fetch may wait is not waited for,
// which is said; what is unpinned before may be.
func TestWaitBesidePins(t *testing.T) {
	for name, c := range map[string]struct {
		pinned time.Duration // 0: never ends
		before bool          // that a Fetch waits
		waits  bool
	}{
		"for ever":       {0, true, false},
		"for too long":   {testWait + 1, true, false},
		"not for long":   {testWait / 2, true, true},
		"while it waits": {0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, 8)
				pins, src := pinnable(1, 4*testExtent), autoSource(2, 100*testExtent)
				lease := g.get(src, 50*testExtent, testExtent)
				pin := func() { g.pin(pins, 0, pins.size, c.pinned) }
				g.touch(pins.fakeSource, 0, pins.size)
				if c.before {
					pin()
				}
				n, pinned := int64(7*testExtent), "65536 bytes that pins of uid 1000 hold"
				if !c.before {
					n, pinned = 8*testExtent, "bytes that pins of uid 1000 hold" // the first are enough
				}
				out := g.wait(t.Context(), src, alice, 0, n)
				if !c.before {
					g.waiting(out)
					pin()
				}
				g.touch(src, 50*testExtent, 1) // a hit
				if c.waits {
					g.waiting(out)
					time.Sleep(c.pinned)
					g.served(out, src).Release()
				} else if o := g.over(out); !errors.Is(o.err, errTooLarge) || !strings.Contains(o.err.Error(), pinned) {
					t.Errorf("%v", o.err)
				}
				g.touch(src, 90*testExtent, 1)
				lease.Release()
			})
		})
	}
}

// TestWaitHeadStart: for a while all room is kept for the first that waits. Then others
// have what fits, in order of arrival, and the first does as soon as it fits.
func TestWaitHeadStart(t *testing.T) {
	bubble(t, 4, func(t *testing.T, g *rig, src *fakeSource, held []*Lease) {
		first := g.wait(t.Context(), src, alice, 10*testExtent, 3*testExtent)
		large := g.wait(t.Context(), src, alice, 20*testExtent, 2*testExtent)
		small := g.wait(t.Context(), src, alice, 30*testExtent, testExtent)
		held[0].Release()
		time.Sleep(headStart - 1)
		synctest.Wait()
		g.waiting(small)
		if _, err := g.run(t.Context(), src, alice, 40*testExtent, 1, 1); !errors.Is(err, ErrNoSpace) {
			t.Errorf("one that does not wait: %v", err)
		}
		time.Sleep(time.Nanosecond)
		got := g.served(small, src)
		g.waiting(first)
		g.waiting(large)
		got.Release()
		other := g.get(src, 40*testExtent, 1) // at once: the first has not seen yet that it does not fit
		other.Release()
		held[1].Release()
		l := g.served(large, src)
		g.waiting(first)
		l.Release()
		held[2].Release()
		if _, err := g.run(t.Context(), src, alice, 50*testExtent, 1, 1); !errors.Is(err, ErrNoSpace) {
			t.Errorf("there is room for the first: %v", err)
		}
		g.served(first, src).Release()
		held[3].Release()
	})
}

// TestWaitHasWhatIsThere: who waits behind others has what they bring, as soon as that is
// under way, and nothing that has to be brought for it.
func TestWaitHasWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, 2)
		src, slow := autoSource(1, 10*testExtent), newSource(2, 100*testExtent)
		one, two := g.get(src, 0, testExtent), g.get(src, testExtent, testExtent)
		first := g.wait(t.Context(), slow, alice, 10*testExtent, testExtent)
		large := g.wait(t.Context(), slow, alice, 20*testExtent, 2*testExtent)
		same := g.wait(t.Context(), slow, alice, 10*testExtent+100, 1000)
		more := g.wait(t.Context(), slow, alice, 10*testExtent, 2*testExtent)
		other := g.wait(t.Context(), src, alice, 9*testExtent, 1)
		one.Release()
		synctest.Wait()
		if u := g.users(t, alice); u.Waiting != 3 {
			t.Errorf("%+v", u)
		}
		slow.complete()
		l := []*Lease{g.served(first, slow), g.served(same, slow)}
		for _, out := range []<-chan outcome{large, more, other} {
			g.waiting(out)
		}
		slow.auto = true
		two.Release()
		l[0].Release()
		g.waiting(large)
		l[1].Release()
		g.served(large, slow).Release()
		g.served(more, slow).Release()
		g.served(other, src).Release()
	})
}
