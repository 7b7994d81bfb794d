package storetest

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"hbmfs/remote/server/store"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

const size = 1<<20 + 13

func testBytes(f *fixture) {
	f.put("sub/f", 1, 1, size)
	o := f.open("sub/f")
	for _, c := range []struct {
		off int64
		n   int
	}{{0, size}, {0, 0}, {0, 1}, {1, 7}, {4096, 4096}, {1 << 19, size - 1<<19}, {size - 1, 1}, {size, 0}} {
		f.holds(o, 1, 1, c.off, c.n)
	}
	f.put("empty", 2, 1, 0)
	f.holds(f.open("empty"), 2, 1, 0, 0)
}

func testRanges(f *fixture) {
	f.put("f", 1, 1, size)
	o := f.open("f")
	for _, c := range []struct {
		off int64
		n   int
	}{{size, 1}, {size - 1, 2}, {-1, 1}, {math.MaxInt64, 1}, {math.MinInt64, 0}} {
		b := make([]byte, c.n)
		if err := o.TryRead(c.off, b); !errors.Is(err, transport.ErrRange) {
			f.Errorf("TryRead of %d bytes at %d: %v", c.n, c.off, err)
		}
		if err := o.Read(f.Context(), c.off, b); !errors.Is(err, transport.ErrRange) {
			f.Errorf("Read of %d bytes at %d: %v", c.n, c.off, err)
		}
	}
}

// testVersions: the same state has one version, and a change another. What an
// object gives is its own version's, or stale.
func testVersions(f *fixture) {
	f.put("f", 1, 1, size)
	old := f.open("f")
	if again := f.open("f"); again.Version() != old.Version() {
		f.Error("another version without a change")
	}
	seen := map[transport.Version]bool{old.Version(): true}
	for v := uint64(2); v < 5; v++ {
		if err := f.storage.Change("f", Content(1, v, size)); err != nil {
			f.Fatal(err)
		}
		if err := old.Read(f.Context(), 0, make([]byte, size)); !errors.Is(err, transport.ErrStale) {
			f.Errorf("version %d is read as the first: %v", v, err)
		}
		if err := old.TryRead(0, make([]byte, size)); !errors.Is(err, transport.ErrStale) && !errors.Is(err, transport.ErrWouldBlock) {
			f.Errorf("version %d is read as the first, at once: %v", v, err)
		}
		now := f.open("f")
		if seen[now.Version()] || transport.Version(f.stat("f").Version) != now.Version() {
			f.Errorf("change %d: version %x, stat says %x", v, now.Version(), f.stat("f").Version)
		}
		seen[now.Version()] = true
		f.holds(now, 1, v, 0, size)
	}
}

func testCancel(f *fixture) {
	f.put("f", 1, 1, size)
	o := f.open("f")
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	b := make([]byte, size)
	switch err := o.Read(ctx, 0, b); {
	case err == nil: // it was in memory
		if err := transporttest.Check(b, Tag(1, 1), 0); err != nil {
			f.Error(err)
		}
	case !errors.Is(err, context.Canceled):
		f.Error(err)
	}
	f.holds(o, 1, 1, 0, size)
}

// testStall has storage that answers no read: TryRead says so at once, and Read
// ends with its context.
func testStall(f *fixture) {
	stalling, ok := f.storage.(Stalling)
	if !ok {
		return // local storage can't be made to
	}
	f.put("f", 1, 1, size)
	o := f.open("f")
	heal := stalling.Stall()
	defer heal()
	b := make([]byte, size)
	if err := o.TryRead(0, b); !errors.Is(err, transport.ErrWouldBlock) {
		f.Errorf("TryRead: %v", err)
	}
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := o.Read(ctx, 0, b); !errors.Is(err, context.Canceled) {
			f.Errorf("Read: %v", err)
		}
		transporttest.Scribble(b)
	}()
	cancel()
	f.within(ended, "a read that was cancelled")
	heal()
	f.holds(o, 1, 1, 0, size)
	f.holds(o, 1, 1, 0, size) // now it may be in memory
	if !transporttest.Scribbled(b) {
		f.Error("a read that was cancelled goes on")
	}
}

func testSpans(f *fixture) {
	f.put("f", 1, 1, size)
	sparse, ok := f.open("f").(store.Sparse)
	if !ok {
		return
	}
	data, end, err := sparse.Spans(f.Context(), 0)
	if err != nil || end != size || len(data) != 2 || data[0] != 0 || data[1] != size {
		f.Errorf("a file without holes has data in %v, to %d: %v", data, end, err)
	}
	for _, off := range []int64{-1, size + 1} {
		if _, _, err := sparse.Spans(f.Context(), off); !errors.Is(err, transport.ErrRange) {
			f.Errorf("from %d: %v", off, err)
		}
	}
}

// testRevoke has two holders of one version: whoever changes it waits for both,
// and nobody reads it meanwhile.
func testRevoke(f *fixture) {
	f.put("f", 1, 1, size)
	a, b := newHolder(), newHolder()
	o, other := f.open("f"), f.open("f")
	if why := o.Unsettled(); why != "" {
		unsupported(f.T, why)
	}
	if !f.tree.Watched() {
		f.Error("nothing may be vouched for")
	}
	if !o.Hold(a) || !other.Hold(b) {
		f.Fatal("a version that did not change can't be held")
	}
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		if err := f.storage.Change("f", Content(1, 2, size)); err != nil {
			f.Error(err)
		}
	}()
	f.within(a.told, "telling the first holder")
	f.within(b.told, "telling the second holder")
	if err := o.Read(f.Context(), 0, make([]byte, 8)); !errors.Is(err, transport.ErrStale) {
		f.Errorf("a version that was revoked is read: %v", err)
	}
	for _, h := range []*holder{a, b} {
		select {
		case <-changed:
			f.Error("the writer went on, and not all have let go")
		case <-time.After(100 * time.Millisecond):
		}
		close(h.free)
	}
	f.within(changed, "a writer whom nobody holds")
	f.holds(f.open("f"), 1, 2, 0, size)
}

// testClosedIsNotTold has a holder who let go before.
func testClosedIsNotTold(f *fixture) {
	f.put("f", 1, 1, size)
	h := newHolder()
	o, _, err := f.tree.Open(f.Context(), []byte("f"))
	if err != nil || !o.Hold(h) {
		f.Fatal(err)
	}
	o.Close()
	if err := f.storage.Change("f", Content(1, 2, size)); err != nil || len(h.told) > 0 {
		f.Errorf("who has closed is told %d times: %v", len(h.told), err)
	}
}

// testHeldTooLate: a version that has changed can't be held any more.
func testHeldTooLate(f *fixture) {
	f.put("f", 1, 1, size)
	o := f.open("f")
	if why := o.Unsettled(); why != "" {
		unsupported(f.T, why)
	}
	if err := f.storage.Change("f", Content(1, 2, size)); err != nil {
		f.Fatal(err)
	}
	if h := newHolder(); o.Hold(h) {
		f.Error("a version that has changed is held")
	}
}

func unsupported(t *testing.T, why string) {
	t.Helper()
	t.Skip("unsupported: " + why)
}

// testLinked: an object that knows of its names does when the last one goes, and
// still has its bytes.
func testLinked(f *fixture) {
	f.put("f", 1, 1, size)
	o := f.open("f")
	linked, ok := o.(store.Linked)
	if !ok {
		return
	}
	if !linked.Linked() {
		f.Error("no name leads to it, it says")
	}
	if err := f.storage.Remove("f"); err != nil {
		f.Fatal(err)
	}
	if linked.Linked() {
		f.Error("a name leads to it, it says")
	}
	f.holds(o, 1, 1, 0, size)
}
