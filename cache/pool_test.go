package cache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// fakeAttach stands for the transports: it takes as long as the test wants.
type fakeAttach struct {
	gate     chan error // one receive for each Attach
	attached []transport.Memory
	detached []transport.Memory
}

func (a *fakeAttach) use(cfg *Config) {
	a.gate = make(chan error)
	cfg.Attach = func(ctx context.Context, m transport.Memory) error {
		select {
		case err := <-a.gate:
			a.attached = append(a.attached, m)
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	cfg.Detach = func(m transport.Memory) { a.detached = append(a.detached, m) }
}

func TestOneRegionForAll(t *testing.T) { synctest.Test(t, oneRegionForAll) }

func oneRegionForAll(t *testing.T) {
	var att fakeAttach
	g := newRig(t, 2, att.use)
	src := autoSource(3, testExtent)
	a, b := g.await(t.Context(), src, 0, 1), g.await(t.Context(), src, 0, 1)
	if _, ok := g.find(g.firstID); ok {
		t.Error("the region is known before it is attached")
	}
	g.Forget(src.key)
	if s := g.Stats(); s.Regions != 0 {
		t.Errorf("%+v", s)
	}
	att.gate <- nil
	for _, out := range []<-chan outcome{a, b} {
		o := <-out
		if o.err != nil {
			t.Fatal(o.err)
		}
		if id := o.lease.Segments()[0].Region; id != g.firstID {
			t.Errorf("region %d, want %d", id, g.firstID)
		}
		o.lease.Release()
	}
	r := g.provider.regions[0]
	if len(g.provider.regions) != 1 || len(att.attached) != 1 || att.attached[0] != transport.Memory(r) {
		t.Errorf("%d regions, attached %v", len(g.provider.regions), att.attached)
	}
	for _, id := range []uint32{0, 2, 1 << 31} {
		if _, ok := g.find(id); ok {
			t.Errorf("there is a region %d", id)
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if len(att.detached) != 1 || r.closed.Load() != 1 {
		t.Errorf("%d detached, closed %d times", len(att.detached), r.closed.Load())
	}
}

func TestAttachFailureLeavesNothing(t *testing.T) { synctest.Test(t, attachFailureLeavesNothing) }

func attachFailureLeavesNothing(t *testing.T) {
	var att fakeAttach
	g := newRig(t, 2, att.use)
	src := autoSource(3, testExtent)
	a, b := g.await(t.Context(), src, 0, 1), g.await(t.Context(), src, 0, 1)
	att.gate <- errBroken
	for _, out := range []<-chan outcome{a, b} {
		if o := <-out; !errors.Is(o.err, errBroken) {
			t.Errorf("%v", o.err)
		}
	}
	if r := g.provider.regions[0]; r.closed.Load() != 1 || len(att.detached) != 0 {
		t.Errorf("closed %d times, %d detached", r.closed.Load(), len(att.detached))
	}
	again := g.await(t.Context(), src, 0, 1)
	att.gate <- nil
	l := (<-again).lease
	if id := l.Segments()[0].Region; id != g.firstID {
		t.Errorf("region %d, want %d", id, g.firstID)
	}
	l.Release()
}

func TestAllocFailure(t *testing.T) {
	g := newRig(t, 2)
	g.provider.err = errBroken
	src := autoSource(3, testExtent)
	if _, err := g.run(t.Context(), src, alice, 0, 1, 1); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	g.provider.err = nil
	g.touch(src, 0, 1)
}

// TestCancelDuringAttach: who gives up does not spoil the region for others.
func TestCancelDuringAttach(t *testing.T) { synctest.Test(t, cancelDuringAttach) }

func cancelDuringAttach(t *testing.T) {
	var att fakeAttach
	g := newRig(t, 2, att.use)
	src := autoSource(3, testExtent)
	ctx, stop := context.WithCancel(t.Context())
	a, b := g.await(ctx, src, 0, 1), g.await(t.Context(), src, 0, 1)
	stop()
	if o := <-a; !errors.Is(o.err, context.Canceled) {
		t.Errorf("%v", o.err)
	}
	att.gate <- nil
	(<-b).lease.Release()
}

func TestAttachTakesTooLong(t *testing.T) { synctest.Test(t, attachTakesTooLong) }

func attachTakesTooLong(t *testing.T) {
	var att fakeAttach
	g := newRig(t, 2, att.use)
	start := time.Now()
	o := <-g.await(t.Context(), autoSource(3, testExtent), 0, 1)
	if !errors.Is(o.err, context.DeadlineExceeded) || time.Since(start) != testTimeout {
		t.Errorf("%v after %v", o.err, time.Since(start))
	}
}

func TestCloseDuringAttach(t *testing.T) { synctest.Test(t, closeDuringAttach) }

func closeDuringAttach(t *testing.T) {
	var att fakeAttach
	g := newRig(t, 2, att.use)
	out := g.await(t.Context(), autoSource(3, testExtent), 0, 1)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if o := <-out; !errors.Is(o.err, ErrClosed) {
		t.Errorf("%v", o.err)
	}
	if r := g.provider.regions[0]; r.closed.Load() != 1 {
		t.Errorf("closed %d times", r.closed.Load())
	}
}

// TestCloseWhileBusy: waiters fail at once, and the regions stay until the last
// transfer is done, an overdue one too.
func TestCloseWhileBusy(t *testing.T) { synctest.Test(t, closeWhileBusy) }

func closeWhileBusy(t *testing.T) {
	g := newRig(t, 4)
	src := newSource(3, 3*testExtent)
	held := g.get(autoSource(4, 10), 0, 10)
	<-g.await(t.Context(), src, 0, 1) // overdue
	out := g.await(t.Context(), src, testExtent, 1)
	closed := make(chan error, 1)
	go func() { closed <- g.Close() }()
	if o := <-out; !errors.Is(o.err, ErrClosed) {
		t.Errorf("%v", o.err)
	}
	reqs := src.take()
	src.succeed(reqs[1])
	synctest.Wait()
	if len(closed) != 0 || g.provider.regions[0].closed.Load() != 0 {
		t.Fatal("Close did not wait for the overdue transfer")
	}
	src.succeed(reqs[0])
	if err := errors.Join(<-closed, g.Close()); err != nil {
		t.Error(err)
	}
	if n := g.provider.regions[0].closed.Load(); n != 1 {
		t.Errorf("the region was closed %d times", n)
	}
	for _, size := range []int64{0, 10} {
		if _, err := g.run(t.Context(), autoSource(5, size), alice, 0, 10, 1); !errors.Is(err, ErrClosed) {
			t.Errorf("fetch of a file of %d bytes after Close: %v", size, err)
		}
	}
	if _, err := g.run(t.Context(), src, bob, 0, 10, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("a domain's first fetch after Close: %v", err)
	}
	if _, ok := g.find(g.firstID); ok {
		t.Error("a region is known after Close")
	}
	held.Release()
}

func TestRevocation(t *testing.T) { synctest.Test(t, revocation) }

func revocation(t *testing.T) {
	g := newRig(t, 4)
	src, kept := newSource(3, 2*testExtent), autoSource(4, testExtent)
	g.touch(autoSource(5, 10), 0, 10)
	held := g.get(kept, 0, 10)
	if err := held.Err(); err != nil {
		t.Fatal(err)
	}
	out := g.await(t.Context(), src, 0, src.size)
	close(g.provider.regions[0].revoked)
	if o := <-out; !errors.Is(o.err, transport.ErrRevoked) {
		t.Errorf("who waited: %v", o.err)
	}
	if err := held.Err(); !errors.Is(err, transport.ErrRevoked) {
		t.Errorf("who holds a lease: %v", err)
	}
	if _, ok := g.find(g.firstID); ok {
		t.Error("the revoked region is known")
	}
	if s := g.Stats(); s.Regions != 0 {
		t.Errorf("%+v", s)
	}

	l := g.get(kept, 0, 10)
	if s := l.Segments()[0]; s.Region != g.firstID+1 || s.Hit {
		t.Errorf("after the revocation: %+v", s)
	}
	l.Release()
	g.verify()
	if s := g.Stats(); s.Resident.Extents != 2 || s.Filling.Extents != 2 || s.Regions != 1 {
		t.Errorf("%+v", s)
	}
	held.Release()
	for i, r := range src.take() {
		transporttest.End(r, transport.Result{Err: []error{nil, transport.ErrRevoked}[i]})
	}
	g.verify()
	if s := g.Stats(); s.Resident.Extents != 1 || s.Filling.Extents != 0 {
		t.Errorf("when the revoked region is let go: %+v", s)
	}
}

// TestRevoke: a device's memory goes from all users, who are told; a region is given back
// when nothing is copied into it or out of it any more, however long it is leased.
func TestRevoke(t *testing.T) { synctest.Test(t, revoke) }

func revoke(t *testing.T) {
	g := newRig(t, 4)
	kept, src := autoSource(4, testExtent), newSource(3, testExtent)
	held := g.get(kept, 0, 10)
	copied, err := g.Present(kept, alice, 0, 10)
	if err != nil || len(copied.Segments()) != 1 {
		t.Fatalf("%+v, %v", copied, err)
	}
	out := g.await(t.Context(), src, 0, src.size)
	other, err := g.run(t.Context(), kept, bob, 0, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan transport.Domain, 3)
	g.OnRevoke(func(dom transport.Domain) { told <- dom })
	if _, _, err := g.Revoke(1); !errors.Is(err, ErrNoDevice) {
		t.Errorf("no such device: %v", err)
	}
	for _, want := range []int{2, 0} {
		if n, bytes, err := g.Revoke(0); n != want || bytes != int64(want)*4*testExtent || err != nil {
			t.Errorf("%d regions, %d bytes, %v; want %d", n, bytes, err, want)
		}
	}
	if o := <-out; !errors.Is(o.err, transport.ErrRevoked) {
		t.Errorf("who waited: %v", o.err)
	}
	synctest.Wait()
	if a, b := <-told, <-told; a == b || len(told) > 0 {
		t.Errorf("told are %v and %v", a, b)
	}
	closed := func() (n [2]int32) {
		synctest.Wait()
		for i := range n {
			n[i] = g.provider.regions[i].closed.Load()
		}
		return n
	}
	if n := closed(); n != [2]int32{0, 1} {
		t.Errorf("given back: %v; something is under way in the first", n)
	}
	for _, r := range src.take() {
		src.succeed(r)
	}
	if n := closed(); n != [2]int32{0, 1} {
		t.Errorf("given back: %v; the first is copied from", n)
	}
	copied.Release()
	if n := closed(); n != [2]int32{1, 1} {
		t.Errorf("given back: %v", n)
	}
	if err := held.Err(); !errors.Is(err, transport.ErrRevoked) {
		t.Errorf("who holds a lease: %v", err)
	}
	held.Release()
	other.Release()
	g.touch(kept, 0, 10)
	g.verify()
}

// TestRevokedWhileMade: a region that is gone before its first use is not used.
func TestRevokedWhileMade(t *testing.T) { synctest.Test(t, revokedWhileMade) }

func revokedWhileMade(t *testing.T) {
	var att fakeAttach
	g := newRig(t, 1, att.use)
	out := g.await(t.Context(), autoSource(3, 10), 0, 10)
	close(g.provider.regions[0].revoked)
	att.gate <- nil
	if o := <-out; !errors.Is(o.err, transport.ErrRevoked) {
		t.Errorf("%v", o.err)
	}
}
