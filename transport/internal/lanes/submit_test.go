package lanes

import (
	"errors"
	"slices"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/transporttest"
)

// TestLightestIsNext submits one large request and small ones, to a link whose
// connections all have something else to do.
func TestLightestIsNext(t *testing.T) {
	l := connected(t, 3)
	ended := make(chan error, 16)
	if n, err := l.Submit(requests(ended, fakeMax, 1, 1, 1, 1)); n != 5 || err != nil {
		t.Fatalf("took %d: %v", n, err)
	}
	for lane, want := range []int{1, 2, 2} {
		c := l.conn(lane)
		if got := c.asked(); got != want || c.flushes.Load() != 1 {
			t.Errorf("lane %d: %d requests in %d flushes, want %d in 1", lane, got, c.flushes.Load(), want)
		}
	}
	for i := range l.conn(0).Unanswered() {
		l.conn(0).answer(i, nil)
	}
	if l.Submit(requests(ended, 1)); l.conn(0).asked() != 1 {
		t.Error("the idle connection was passed over")
	}
}

// TestOutOfCredits submits more than two connections take, one of which ends.
func TestOutOfCredits(t *testing.T) {
	l := connected(t, 2)
	ended := make(chan error, 32)
	many := make([]int64, 2*fakeDepth+1)
	if n, err := l.Submit(requests(ended, many...)); n != 2*fakeDepth || err != nil {
		t.Fatalf("took %d: %v", n, err)
	}
	c := l.conn(1)
	c.answer(2, nil)
	if n, err := l.Submit(requests(ended, 1, 1)); n != 1 || err != nil || c.asked() != fakeDepth {
		t.Errorf("took %d with a credit back: %v", n, err)
	}
	c.answer(3, nil)
	c.fail(transport.ErrConnLost) // but the lane's goroutine does not know yet
	if n, err := l.Submit(requests(ended, 1)); n != 0 || err != nil {
		t.Errorf("took %d, the other connection has no credit: %v", n, err)
	}
	l.conn(0).answer(0, nil)
	if n, err := l.Submit(requests(ended, 1)); n != 1 || err != nil || l.conn(0).asked() != fakeDepth {
		t.Errorf("took %d, the other connection has a credit: %v", n, err)
	}
	if st := l.Stats(); st.Waits != 3 {
		t.Errorf("%d waits", st.Waits)
	}
	c.Kill(nil)
}

// TestNoneUp submits to a link with no connection that takes anything.
func TestNoneUp(t *testing.T) {
	l := connected(t, 1)
	c := l.conn(0)
	c.fail(transport.ErrConnLost)
	if n, err := l.Submit(requests(nil, 1)); n != 0 || !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("took %d: %v", n, err)
	}
}

// TestBadRequests are taken, and end with what is wrong with them; Submit may be
// called with a lock held that the completer takes.
func TestBadRequests(t *testing.T) {
	l := connected(t, 1)
	ended := make(chan error) // the completer waits until Submit has returned
	bad := requests(ended, 1, 1, fakeMax+1, 1)
	bad[0].Off = -1
	bad[1].Off = 1<<63 - 1
	bad[3].Dst.Mem = transporttest.NewFakeDevice(t, 8)
	if n, err := l.Submit(bad); n != len(bad) || err != nil {
		t.Fatalf("took %d: %v", n, err)
	}
	unattached := 0
	for range bad {
		switch err := <-ended; {
		case errors.Is(err, transport.ErrUnavailable):
			unattached++
		case !errors.Is(err, transport.ErrRange):
			t.Error(err)
		}
	}
	if unattached != 1 {
		t.Errorf("%d requests into memory that isn't attached", unattached)
	}
	l.Close()
	if n, err := l.Submit(bad); n != 0 || !errors.Is(err, transport.ErrClosed) {
		t.Errorf("took %d after the end: %v", n, err)
	}
	if st := l.Stats(); st.Requests != 4 || st.Errors != 4 || st.InFlight != 0 {
		t.Errorf("%+v", st)
	}
}

// TestUndone counts a request that goes by no lane after all.
func TestUndone(t *testing.T) {
	l := connected(t, 1)
	l.Begin()
	if n := l.Stats().InFlight; n != 1 {
		t.Errorf("%d in flight", n)
	}
	l.Undo()
	if st := l.Stats(); st != (transport.LinkStats{Connections: 1}) {
		t.Errorf("%+v", st)
	}
}

// TestSlotsAreApart: a slot is free again only when its request is finished.
func TestSlotsAreApart(t *testing.T) {
	l := connected(t, 1)
	c := l.conn(0)
	ended := make(chan error, 16)
	l.Submit(requests(ended, 1, 1, 1, 1))
	if got := slices.Collect(c.Unanswered()); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Fatalf("slots %v", got)
	}
	c.Answered(1)
	if a := c.Add(landing.Request{Request: requests(ended, 1)[0]}); a != NoCredit {
		t.Errorf("a slot was given away whose payload is landing: %d", a)
	}
	c.Finish(1, c.reqs[1], transport.Result{})
	if a := c.Add(landing.Request{Request: requests(ended, 1)[0]}); a != Added || c.asked() != 4 {
		t.Errorf("the slot is not free: %d", a)
	}
}

func TestRequestsDoNotAllocate(t *testing.T) {
	l := connected(t, 4)
	reqs := requests(nil, 1, 1, 1, 1)
	for _, r := range reqs {
		r.To = transporttest.Done(func(transport.Result) {})
	}
	allocs := testing.AllocsPerRun(100, func() {
		if n, err := l.Submit(reqs); n != len(reqs) {
			t.Fatal(err)
		}
		for lane := range l.lanes {
			l.conn(lane).answer(0, nil)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkSubmit(b *testing.B) {
	l := connected(b, 4)
	reqs := requests(nil, 1)
	reqs[0].To = transporttest.Done(func(transport.Result) {})
	b.ReportAllocs()
	for b.Loop() {
		l.Submit(reqs)
		l.conn(0).answer(0, nil)
	}
}
