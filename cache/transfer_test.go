package cache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestSingleFlight(t *testing.T) { synctest.Test(t, singleFlight) }

func singleFlight(t *testing.T) {
	const fetchers = 100
	g := newRig(t, 4)
	src := newSource(3, 2*testExtent)
	outs := make([]<-chan outcome, fetchers)
	for i := range outs {
		outs[i] = g.await(t.Context(), src, int64(i), 2*testExtent)
	}
	if len(src.pending) != 2 {
		t.Fatalf("%d transfers for 2 extents", len(src.pending))
	}
	for i, r := range src.take() {
		if i == 1 {
			synctest.Wait()
			for _, out := range outs {
				g.waiting(out)
			}
		}
		src.succeed(r)
	}
	var leases []*Lease
	for i, out := range outs {
		o := <-out
		if o.err != nil {
			t.Fatal(o.err)
		}
		leases = append(leases, o.lease)
		g.check(o.lease, src.key)
		if s := o.lease.Segments()[0]; s.Hit || s.FileOff != int64(i) {
			t.Errorf("fetcher %d: %+v", i, s)
		}
	}
	g.verify()
	if s := g.Stats(); s.Misses != 2 || s.Joined != 2*(fetchers-1) || s.Leases != fetchers || s.LeasedBytes != 2*testExtent {
		t.Errorf("%+v", s)
	}
	for _, l := range leases {
		l.Release()
	}
	if s := g.Stats(); s.Leases != 0 || s.LeasedBytes != 0 || s.Resident.Extents != 2 {
		t.Errorf("after release: %+v", s)
	}
}

// TestFailure: every waiter gets the error, the memory is free at once, and who
// asks next starts anew.
func TestFailure(t *testing.T) { synctest.Test(t, failure) }

func failure(t *testing.T) {
	g := newRig(t, 1)
	src := newSource(3, testExtent)
	a, b := g.await(t.Context(), src, 0, 10), g.await(t.Context(), src, 5, 10)
	src.fail(errBroken)
	for _, out := range []<-chan outcome{a, b} {
		if o := <-out; !errors.Is(o.err, errBroken) || o.lease != nil {
			t.Errorf("%v, %v", o.lease, o.err)
		}
	}
	if s := g.Stats(); s.Errors != 1 || s.Resident.Extents+s.Filling.Extents != 0 || s.Bytes != (uapi.ByPath{}) {
		t.Errorf("%+v", s)
	}
	g.verify()
	c := g.await(t.Context(), src, 0, 10)
	src.complete()
	l := (<-c).lease
	g.check(l, src.key)
	l.Release()
}

// TestPartialFailure: one failed extent of several fails the fetch; the others
// are kept, also the one that is not done yet.
func TestPartialFailure(t *testing.T) { synctest.Test(t, partialFailure) }

func partialFailure(t *testing.T) {
	g := newRig(t, 3)
	src := newSource(3, 3*testExtent)
	out := g.await(t.Context(), src, 0, src.size)
	reqs := src.take()
	src.succeed(reqs[0])
	transporttest.End(reqs[1], transport.Result{Err: errBroken})
	if o := <-out; !errors.Is(o.err, errBroken) {
		t.Fatal(o.err)
	}
	if s := g.Stats(); s.LeasedBytes != 0 || s.Leases != 0 {
		t.Errorf("%+v", s)
	}
	src.succeed(reqs[2])
	for i, want := range []bool{true, false, true} {
		if got := g.has(src, int64(i)*testExtent); got != want {
			t.Errorf("extent %d resident: %v, want %v", i, got, want)
		}
	}
}

// TestCancel: a fetch whose context ends returns at once with nothing pinned, and
// its transfer makes the extent resident for the next one.
func TestCancel(t *testing.T) { synctest.Test(t, cancel) }

func cancel(t *testing.T) {
	g := newRig(t, 3)
	src := newSource(3, 3*testExtent)
	g.touch(autoSource(3, 3*testExtent), 0, 1) // the first is a hit
	other := g.await(t.Context(), src, testExtent, 1)
	ctx, stop := context.WithCancel(t.Context())
	out := g.await(ctx, src, 0, src.size)
	before := time.Now()
	stop()
	if o := <-out; !errors.Is(o.err, context.Canceled) || o.lease != nil || time.Since(before) != 0 {
		t.Fatalf("%v, %v after %v", o.lease, o.err, time.Since(before))
	}
	if s := g.Stats(); s.LeasedBytes != 0 || s.Leases != 0 || s.Filling.Extents != 2 {
		t.Errorf("%+v", s)
	}
	g.verify()
	g.waiting(other)
	src.complete()
	(<-other).lease.Release()
	l := g.get(src, 0, src.size)
	for i, s := range l.Segments() {
		if !s.Hit {
			t.Errorf("segment %d is no hit", i)
		}
	}
	l.Release()
	if _, err := g.run(ctx, src, alice, 0, 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

// TestCancelledThenFailed: the memory of a failed transfer that nobody waits for
// is free.
func TestCancelledThenFailed(t *testing.T) { synctest.Test(t, cancelledThenFailed) }

func cancelledThenFailed(t *testing.T) {
	g := newRig(t, 1)
	src := newSource(3, testExtent)
	ctx, stop := context.WithCancel(t.Context())
	out := g.await(ctx, src, 0, 10)
	stop()
	<-out
	src.fail(errBroken)
	g.touch(autoSource(4, testExtent), 0, testExtent)
}

// TestUnsettledCancelled: an extent that nobody else may see is freed when its
// transfer is done.
func TestUnsettledCancelled(t *testing.T) { synctest.Test(t, unsettledCancelled) }

func unsettledCancelled(t *testing.T) {
	g := newRig(t, 1)
	src := newSource(3, testExtent)
	src.unsettled = true
	ctx, stop := context.WithCancel(t.Context())
	out := g.await(ctx, src, 0, 10)
	stop()
	<-out
	src.complete()
	if s := g.Stats(); s.Resident.Extents != 0 || s.Filling.Extents != 0 {
		t.Errorf("%+v", s)
	}
}

// TestQuarantine: an overdue transfer fails those who wait; a new one gets other
// memory, and the late bytes land in memory that is nobody's.
func TestQuarantine(t *testing.T) { synctest.Test(t, quarantine) }

func quarantine(t *testing.T) {
	g := newRig(t, 3)
	src := newSource(3, testExtent)
	start := time.Now()
	out := g.await(t.Context(), src, 0, 10)
	time.Sleep(testTimeout / 2)
	late := g.await(t.Context(), src, 5, 10) // joins, and gets no more time
	for _, out := range []<-chan outcome{out, late} {
		if o := <-out; !errors.Is(o.err, ErrOverdue) {
			t.Fatal(o.err)
		}
	}
	if took := time.Since(start); took != testTimeout {
		t.Errorf("overdue after %v, want %v", took, testTimeout)
	}
	stuck := src.take()
	want := Usage{1, testExtent}
	if s := g.Stats(); s.Quarantined != want || s.Filling.Extents != 0 || s.Overdue != 1 {
		t.Errorf("%+v", s)
	}
	g.verify()

	again := g.await(t.Context(), src, 0, 10)
	fresh := src.pending[0]
	if fresh.Dst.Off == stuck[0].Dst.Off {
		t.Fatal("the new transfer was given the quarantined memory")
	}
	src.complete()
	leases := []*Lease{(<-again).lease}
	other := autoSource(4, 2*testExtent)
	leases = append(leases, g.get(other, 0, testExtent))
	if _, err := g.run(t.Context(), other, alice, testExtent, 1, 1); !errors.Is(err, ErrNoSpace) {
		t.Errorf("the quarantined frame was used: %v", err)
	}

	for off := range stuck[0].Dst.Len { // the late write, of other bytes
		stuck[0].Dst.Mem.Bytes()[stuck[0].Dst.Off+off] = 0xEE
	}
	g.check(leases[0], src.key)
	g.check(leases[1], other.key)
	transporttest.End(stuck[0], transport.Result{Path: uapi.PathStaged})
	if s := g.Stats(); s.Quarantined.Extents != 0 {
		t.Errorf("%+v", s)
	}
	l := g.get(other, testExtent, testExtent) // in the memory that was quarantined
	if l.Segments()[0].RegionOff != stuck[0].Dst.Off {
		t.Error("the quarantined memory was not used again")
	}
	for _, l := range append(leases, l) {
		g.check(l, map[bool]FileKey{true: src.key, false: other.key}[l == leases[0]])
		l.Release()
	}
}

// TestQuarantineOfShortExtent: a frame with a quarantined slot is not evicted,
// its other slots stay in use.
func TestQuarantineOfShortExtent(t *testing.T) { synctest.Test(t, quarantineOfShortExtent) }

func quarantineOfShortExtent(t *testing.T) {
	g := newRig(t, 1)
	stuck := newSource(3, 100)
	out := g.await(t.Context(), stuck, 0, 100)
	if o := <-out; !errors.Is(o.err, ErrOverdue) {
		t.Fatal(o.err)
	}
	var held []*Lease
	for ino := range uint64(g.per(100) - 1) {
		held = append(held, g.get(autoSource(10+ino, 100), 0, 100))
	}
	full, short := autoSource(200, testExtent), autoSource(201, 100)
	for _, src := range []*fakeSource{full, short} {
		if _, err := g.run(t.Context(), src, alice, 0, 1, 1); !errors.Is(err, ErrNoSpace) {
			t.Errorf("file of %d bytes: %v", src.size, err)
		}
	}
	held[0].Release()
	g.touch(short, 0, 1)
	stuck.fail(errBroken)
	for _, l := range held[1:] {
		l.Release()
	}
	g.touch(full, 0, testExtent)
}

// TestEachTransferHasItsOwnTime: the timer serves transfers that started at
// different times, and rests in between.
func TestEachTransferHasItsOwnTime(t *testing.T) { synctest.Test(t, eachTransferHasItsOwnTime) }

func eachTransferHasItsOwnTime(t *testing.T) {
	g := newRig(t, 8)
	src := newSource(3, 8*testExtent)
	var outs []<-chan outcome
	start := time.Now()
	for i := range int64(3) {
		outs = append(outs, g.await(t.Context(), src, i*testExtent, 1))
		time.Sleep(testTimeout / 4)
	}
	src.succeed(src.pending[1])
	(<-outs[1]).lease.Release()
	for _, i := range []int{0, 2} {
		if o := <-outs[i]; !errors.Is(o.err, ErrOverdue) {
			t.Fatal(o.err)
		}
		if took, want := time.Since(start), testTimeout+testTimeout/4*time.Duration(i); took != want {
			t.Errorf("transfer %d is overdue after %v, want %v", i, took, want)
		}
	}
	stuck := src.take()
	src.pending = append(src.pending, stuck[0], stuck[2])
	time.Sleep(10 * testTimeout)
	start = time.Now()
	out := g.await(t.Context(), src, 7*testExtent, 1)
	if o := <-out; !errors.Is(o.err, ErrOverdue) || time.Since(start) != testTimeout {
		t.Errorf("after a rest: %v after %v", o.err, time.Since(start))
	}
	src.complete()
}

func TestForget(t *testing.T) { synctest.Test(t, forget) }

func forget(t *testing.T) {
	g := newRig(t, 5)
	src, other := newSource(3, 3*testExtent), autoSource(4, testExtent)
	g.touch(other, 0, 1)
	done := autoSource(3, 3*testExtent)
	g.touch(done, 0, 1)
	leased := g.get(done, testExtent, testExtent)
	out := g.await(t.Context(), src, 2*testExtent, 1)

	g.Forget(src.key)
	if s := g.Stats(); s.Resident.Extents != 2 || s.Filling.Extents != 1 {
		t.Errorf("after Forget: %+v", s)
	}
	g.verify()
	g.check(leased, src.key)
	src.complete()
	filled := (<-out).lease
	g.check(filled, src.key)
	if !g.has(other, 0) || g.has(src, testExtent) || g.has(src, 2*testExtent) {
		t.Error("Forget took the wrong extents out of the table")
	}
	leased.Release()
	filled.Release()
	if s := g.Stats(); s.Resident.Extents != 1 {
		t.Errorf("after release: %+v", s)
	}
	g.Forget(FileKey{Ino: 99})
}

func TestForgetWhileNobodyWaits(t *testing.T) { synctest.Test(t, forgetWhileNobodyWaits) }

func forgetWhileNobodyWaits(t *testing.T) {
	g := newRig(t, 2)
	src := newSource(3, testExtent)
	ctx, stop := context.WithCancel(t.Context())
	out := g.await(ctx, src, 0, 1)
	stop()
	<-out
	g.Forget(src.key)
	anew := g.await(t.Context(), src, 0, 1)
	if len(src.pending) != 2 {
		t.Errorf("%d transfers, want one from before Forget and one anew", len(src.pending))
	}
	src.complete()
	(<-anew).lease.Release()
	if s := g.Stats(); s.Resident.Extents != 1 {
		t.Errorf("%+v", s)
	}
}
