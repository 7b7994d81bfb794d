package cache

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"

	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestConfig(t *testing.T) {
	good := Config{Devices: []Device{{&fakeProvider{}, 3*4096 + 1}}, Extent: 4096, Timeout: 1}
	for name, spoil := range map[string]func(*Config){
		"no provider":        func(c *Config) { c.Devices = []Device{{nil, 4096}} },
		"no device":          func(c *Config) { c.Devices = nil },
		"small extent":       func(c *Config) { c.Extent = 2048 },
		"extent of 12 KiB":   func(c *Config) { c.Extent = 3 * 4096 },
		"pool of no extents": func(c *Config) { c.Devices = []Device{good.Devices[0], {&fakeProvider{}, 4095}} },
		"no time-out":        func(c *Config) { c.Timeout = 0 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g := newRig(t, 1, func(cfg *Config) { cfg.Devices[0].Pool, cfg.Extent = good.Devices[0].Pool, good.Extent })
	if _, err := g.run(context.Background(), autoSource(1, 10), alice, 0, 1, 1); err != nil {
		t.Fatal(err)
	}
	if s := g.Stats(); s.RegionBytes != 3*4096 {
		t.Errorf("region of %d bytes, want the pool rounded down", s.RegionBytes)
	}
}

// TestRanges fetches from a memfd region and compares bytes and segments.
func TestRanges(t *testing.T) {
	const size = 3*testExtent + 5001
	for _, r := range []struct{ off, n, covered, segments int64 }{
		{0, size, size, 4},
		{0, math.MaxInt64, size, 4},
		{0, 1, 1, 1},
		{0, testExtent, testExtent, 1},
		{testExtent - 1, 2, 2, 2},
		{testExtent + 13, testExtent, testExtent, 2},
		{size - 1, 1, 1, 1},
		{size - 7, 100, 7, 1},
		{3 * testExtent, 5001, 5001, 1},
		{size, 1, 0, 0},
		{math.MaxInt64, 0, 0, 0},
		{100, 0, 0, 0},
	} {
		memfd, err := device.Open("memfd")
		if err != nil {
			t.Fatal(err)
		}
		g := newRig(t, 4, func(cfg *Config) { cfg.Devices[0].Provider = memfd })
		src := autoSource(7, size)
		for range 2 { // cold, then hits
			l := g.get(src, r.off, r.n)
			if l.Covered() != r.covered || int64(len(l.Segments())) != r.segments || l.Next() != 0 {
				t.Errorf("[%d, +%d): %d bytes in %d segments, next %d; want %d in %d", r.off, r.n, l.Covered(), len(l.Segments()), l.Next(), r.covered, r.segments)
			}
			l.Release()
		}
		if s := g.Stats(); s.Hits != r.segments || s.Misses != r.segments || s.Leases != 0 || s.LeasedBytes != 0 {
			t.Errorf("[%d, +%d): %+v", r.off, r.n, s)
		}
		g.verify()
	}
}

func TestInvalidRanges(t *testing.T) {
	g := newRig(t, 1)
	for _, r := range []struct {
		off, n int64
		limit  int
	}{{-1, 1, 1}, {0, -1, 1}, {1, math.MaxInt64, 1}, {math.MaxInt64, 1, 1}, {0, 1, 0}, {0, 1, -1}} {
		if _, err := g.run(context.Background(), autoSource(1, 10), alice, r.off, r.n, r.limit); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if len(g.provider.regions) != 0 {
		t.Error("a region was made for nothing")
	}
}

func TestEmptyFile(t *testing.T) {
	g := newRig(t, 1)
	l := g.get(autoSource(1, 0), 0, 10)
	if l.Path() != uapi.PathNone || l.Covered() != 0 || l.Err() != nil {
		t.Errorf("path %v, %d bytes, %v", l.Path(), l.Covered(), l.Err())
	}
	l.Release()
}

func TestCursor(t *testing.T) {
	const size = 5*testExtent + 100
	g := newRig(t, 6)
	src := autoSource(3, size)
	var got []byte
	off, rounds := int64(10), 0
	for {
		l, err := g.run(context.Background(), src, alice, off, size-off, 2)
		if err != nil {
			t.Fatal(err)
		}
		g.check(l, src.key)
		for _, s := range l.Segments() {
			r, _ := g.find(s.Region)
			got = append(got, r.Bytes()[s.RegionOff:][:s.Len]...)
		}
		next := l.Next()
		l.Release()
		if rounds++; next == 0 {
			break
		}
		off = next
	}
	if want := contents(src.key, 10, size-10); !slices.Equal(got, want) || rounds != 3 {
		t.Errorf("%d bytes in %d rounds, want %d in 3", len(got), rounds, len(want))
	}
}

func TestOneBatch(t *testing.T) { synctest.Test(t, testOneBatch) }

func testOneBatch(t *testing.T) {
	g := newRig(t, 8)
	src := newSource(3, 8*testExtent)
	first := g.await(t.Context(), src, 2*testExtent, 1)
	src.complete()
	(<-first).lease.Release()
	second := g.await(t.Context(), src, 0, 5*testExtent)
	if want := []int{1, 4}; !slices.Equal(src.batches, want) {
		t.Errorf("batches of %v, want %v", src.batches, want)
	}
	offsets := []int64{0, testExtent, 3 * testExtent, 4 * testExtent}
	for i, r := range src.pending {
		if r.Off != offsets[i] || r.File.Version != src.key.Version {
			t.Errorf("request %d is at %d of version %v", i, r.Off, r.File.Version)
		}
	}
	src.complete()
	l := (<-second).lease
	g.check(l, src.key)
	for i, s := range l.Segments() {
		if s.Hit != (i == 2) {
			t.Errorf("segment %d: hit %v", i, s.Hit)
		}
	}
	l.Release()
}

// TestPath: path and reason are kept with the extent, and a lease tells the
// least direct of its segments'.
func TestPath(t *testing.T) { synctest.Test(t, testPath) }

func testPath(t *testing.T) {
	g := newRig(t, 4)
	src := newSource(3, 3*testExtent)
	results := []transport.Result{
		{Path: uapi.PathRDMA, Why: uapi.WhyBest},
		{Path: uapi.PathStaged, Why: uapi.WhyRequested},
		{Path: uapi.PathDevmemTCP, Why: uapi.WhyBest},
	}
	first := g.await(t.Context(), src, 0, src.size)
	for i, r := range src.take() {
		put(src.key, r)
		transporttest.End(r, results[i])
	}
	(<-first).lease.Release()
	l := g.get(src, 0, src.size)
	for i, s := range l.Segments() {
		if s.Path != results[i].Path || s.Why != results[i].Why || !s.Hit {
			t.Errorf("segment %d: %+v", i, s)
		}
	}
	if l.Path() != uapi.PathStaged || l.Why() != uapi.WhyRequested {
		t.Errorf("lease: %v, %v", l.Path(), l.Why())
	}
	l.Release()
	want := uapi.ByPath{uapi.PathRDMA: testExtent, uapi.PathStaged: testExtent, uapi.PathDevmemTCP: testExtent}
	if s := g.Stats(); s.Bytes != want {
		t.Errorf("bytes per path %v, want %v", s.Bytes, want)
	}
}

func TestUnsettledIsNeverShared(t *testing.T) {
	g := newRig(t, 4)
	src := autoSource(3, testExtent)
	src.unsettled = true
	a, b := g.get(src, 0, 100), g.get(src, 0, 100)
	if a.Segments()[0].RegionOff == b.Segments()[0].RegionOff || b.Segments()[0].Hit {
		t.Errorf("shared: %+v and %+v", a.Segments(), b.Segments())
	}
	src.unsettled = false
	settled := g.get(src, 0, 100)
	if settled.Segments()[0].Hit {
		t.Error("an unsettled extent was found")
	}
	src.unsettled = true
	c := g.get(src, 0, 100)
	if c.Segments()[0].Hit {
		t.Error("an unsettled fetch was given a shared extent")
	}
	for _, l := range []*Lease{a, b, c} {
		l.Release()
	}
	if s := g.Stats(); s.Resident.Extents != 1 {
		t.Errorf("%d extents were kept, want the settled one", s.Resident.Extents)
	}
	settled.Release()
}

func TestDomainsNeverShare(t *testing.T) {
	g := newRig(t, 2, func(cfg *Config) { cfg.Devices = append(cfg.Devices, cfg.Devices[0]) })
	src := autoSource(3, testExtent)
	a := g.get(src, 0, testExtent)
	b, err := g.run(t.Context(), src, bob, 0, testExtent, 1)
	if err != nil {
		t.Fatal(err)
	}
	g.check(b, src.key)
	for l, dom := range map[*Lease]transport.Domain{a: alice, b: bob} {
		s := l.Segments()[0]
		if r, _ := g.find(s.Region); r.Domain() != dom || s.Hit {
			t.Errorf("%+v is in a region of %v, want %v", s, r.Domain(), dom)
		}
	}
	other := transport.Domain{UID: alice.UID, Device: 1}
	c, err := g.run(t.Context(), src, other, 0, testExtent, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c.Segments()[0].Hit || c.Segments()[0].Region == a.Segments()[0].Region {
		t.Error("one user's devices share a region")
	}
	for _, l := range []*Lease{a, b, c} {
		l.Release()
	}
	if s := g.Stats(); s.Misses != 3 || s.Regions != 3 {
		t.Errorf("%d misses, %d regions, want 3 each", s.Misses, s.Regions)
	}
}

func TestVersionsNeverMix(t *testing.T) {
	g := newRig(t, 2)
	v1, v2 := autoSource(3, testExtent), autoSource(3, testExtent)
	v2.key.Version[0] = 0x5A
	a, b := g.get(v1, 0, testExtent), g.get(v2, 0, testExtent)
	g.check(a, v1.key)
	a.Release()
	b.Release()
}

// TestSameKeyOtherSize: a source that lies about its size finds no extent that is
// shorter than what it is told.
func TestSameKeyOtherSize(t *testing.T) {
	g := newRig(t, 2)
	g.touch(autoSource(3, 5000), 0, 5000)
	l := g.get(autoSource(3, testExtent), 0, testExtent)
	if l.Segments()[0].Hit {
		t.Error("a short extent was found for a long one")
	}
	l.Release()
}

func TestReleaseTwicePanics(t *testing.T) {
	g := newRig(t, 1)
	l := g.get(autoSource(3, 10), 0, 10)
	l.Release()
	mustPanic(t, l.Release)
}

func TestDoneTwicePanics(t *testing.T) { synctest.Test(t, testDoneTwicePanics) }

func testDoneTwicePanics(t *testing.T) {
	g := newRig(t, 1)
	src := newSource(3, 10)
	out := g.await(t.Context(), src, 0, 10)
	r := src.pending[0]
	src.complete()
	(<-out).lease.Release()
	mustPanic(t, func() { transporttest.End(r, transport.Result{}) })
}

func mustPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f()
}
