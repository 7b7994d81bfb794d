package cache

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"hbmfs/cache/index"
)

// TestPresentCopied: regions stay until nobody copies from them, though the cache closes.
func TestPresentCopied(t *testing.T) {
	g := newRig(t, 8)
	src := autoSource(1, testExtent)
	f, err := g.Fetch(t.Context(), src, alice, 0, 100, Exact, 9)
	if err != nil {
		t.Fatal(err)
	}
	f.Release()
	l, err := g.Present(src, alice, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	at := l.Span(0)
	closed := make(chan error, 1)
	go func() { closed <- g.Close() }()
	select {
	case <-closed:
		t.Fatal("closed, and somebody copies")
	case <-time.After(50 * time.Millisecond):
	}
	if !bytes.Equal(at.Mem.Bytes()[at.Off:][:at.Len], contents(src.key, 0, 100)) {
		t.Error("the bytes are not there any more")
	}
	l.Release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestPresent: what is there is leased, each byte once, with gaps where nothing is or is
// under way; nothing is brought, and no region made.
func TestPresent(t *testing.T) {
	g := newRig(t, 8)
	src := autoSource(1, 6*testExtent)
	lease := func(off, n int64) *Lease {
		t.Helper()
		l, err := g.Present(src, alice, off, n)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := lease(0, 100)
	if len(l.Segments()) != 0 || g.Stats().Regions != 0 {
		t.Errorf("%+v of nothing", l.Segments())
	}
	l.Release()
	for _, r := range [][2]int64{{100, 50}, {120, 100}, {testExtent - 10, 30}, {3 * testExtent, testExtent}} {
		f, err := g.Fetch(t.Context(), src, alice, r[0], r[1], Exact, 9)
		if err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	before := g.Stats()
	for _, c := range []struct {
		off, n int64
		want   [][2]int64
	}{
		{0, 100, nil},
		{110, 20, [][2]int64{{110, 130}}},
		{0, 1000, [][2]int64{{100, 150}, {150, 220}}},
		{130, testExtent, [][2]int64{{130, 150}, {150, 220}, {testExtent - 10, testExtent + 20}}},
		{testExtent + 19, 3 * testExtent, [][2]int64{{testExtent + 19, testExtent + 20}, {3 * testExtent, 4 * testExtent}}},
		{3*testExtent + 7, 1 << 60, [][2]int64{{3*testExtent + 7, 4 * testExtent}}},
		{6 * testExtent, 10, nil},
	} {
		l := lease(c.off, c.n)
		if len(l.Segments()) != len(c.want) {
			t.Errorf("%d bytes at %d: %+v", c.n, c.off, l.Segments())
		}
		for i, s := range l.Segments() {
			at := l.Span(i)
			if s.span() != (index.Span{From: c.want[i][0], To: c.want[i][1]}) || !bytes.Equal(at.Mem.Bytes()[at.Off:][:at.Len], contents(src.key, s.FileOff, s.Len)) || s.Path != src.path || !s.Hit {
				t.Errorf("%d bytes at %d: %+v, want %+v", c.n, c.off, s, c.want)
			}
		}
		if s := g.Stats(); s.Leases != 1 || (s.LeasedBytes > 0) != (len(c.want) > 0) {
			t.Errorf("while leased: %+v", s)
		}
		l.Release()
	}
	if s := g.Stats(); s.Misses != before.Misses || s.Hits != before.Hits || s.Leases != 0 || s.LeasedBytes != 0 {
		t.Errorf("%+v", s)
	}
	if l, err := g.Present(src, bob, 0, 1000); err != nil || len(l.Segments()) != 0 {
		t.Errorf("another's: %+v, %v", l, err)
	} else {
		l.Release()
	}
	src.unsettled = true
	if l := lease(0, 1000); len(l.Segments()) != 0 {
		t.Errorf("unsettled: %+v", l.Segments())
	} else {
		l.Release()
	}
	if _, err := g.Present(src, alice, -1, 1); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}
