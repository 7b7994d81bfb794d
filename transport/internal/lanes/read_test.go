package lanes

import (
	"context"
	"errors"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// reads starts n plain reads, which tell ended how they end.
func reads(ctx context.Context, l *fakeLink, n int, ended chan<- error) {
	for range n {
		go func() {
			b, res := l.Read(ctx, transport.FileRef{}, 0, 8)
			if b != nil {
				b.Release()
			}
			ended <- res.Err
		}()
	}
}

// wait returns once n plain reads wait for a credit, and the connections have
// asked for asked.
func (l *fakeLink) wait(t *testing.T, n int32, asked int) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); l.hungry.Load() != n || l.conn(0).asked() != asked; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d wait and %d are asked, not %d and %d", l.hungry.Load(), l.conn(0).asked(), n, asked)
		}
	}
}

// TestReadsWaitForCredits has more plain reads than credits: each gets its turn,
// or is given up.
func TestReadsWaitForCredits(t *testing.T) {
	l := connected(t, 1)
	ended := make(chan error, 32)
	reads(t.Context(), l, 3*fakeDepth, ended)
	l.wait(t, 2*fakeDepth, fakeDepth)
	ctx, cancel := context.WithCancel(t.Context())
	reads(ctx, l, 1, ended)
	l.wait(t, 2*fakeDepth+1, fakeDepth)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c := l.conn(0)
	for waiting := int32(2 * fakeDepth); waiting > 0; waiting-- {
		l.wait(t, waiting, fakeDepth)
		for slot := range c.Unanswered() {
			c.answer(slot, nil)
			break
		}
	}
	l.wait(t, 0, fakeDepth)
	for slot := range c.Unanswered() {
		c.answer(slot, nil)
	}
	for range 3 * fakeDepth {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestReadsWaitInVain ends the connection, or the link, while plain reads wait for
// credits.
func TestReadsWaitInVain(t *testing.T) {
	for what, c := range map[string]struct {
		end  func(l *fakeLink)
		want error
	}{
		"no connection": {func(l *fakeLink) { l.conn(0).Kill(transport.ErrConnLost) }, transport.ErrConnLost},
		"closed":        {func(l *fakeLink) { l.Close() }, transport.ErrClosed},
	} {
		l := newLink(t, 1)
		l.refuse = func(_ context.Context, nth int32) error {
			if nth > 1 {
				return errors.New("no route")
			}
			return nil
		}
		if err := l.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 32)
		reads(t.Context(), l, 2*fakeDepth, ended)
		l.wait(t, fakeDepth, fakeDepth)
		c.end(l)
		for range 2 * fakeDepth {
			if err := <-ended; !errors.Is(err, c.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		l.Close()
	}
}

// roomy has room for every request.
type roomy struct{ Carrier }

func (roomy) Place(int, int, landing.Request) bool { return true }

// TestCreditsForAll has one kind of request come first, as many as can be: it
// leaves some credits to each of the others.
func TestCreditsForAll(t *testing.T) {
	const depth, kept = 32, 4
	l := newLink(t, 1)
	read := landing.NewRead(transport.FileRef{}, 0, landing.GetBuffer(8))
	defer read.Abandon()
	all := []landing.Request{{Request: requests(nil, 1)[0]}, read.Request(), {Request: sequence(nil, "C")[0]}}
	for i, first := range all {
		var c Conn
		c.Init(&l.Link, roomy{}, depth)
		fill := func(r landing.Request) (taken int) {
			for c.Add(r) == Added {
				taken++
			}
			return taken
		}
		second, third := all[(i+1)%len(all)], all[(i+2)%len(all)]
		if n, m, k := fill(first), fill(second), fill(third); n != depth-2*kept || m != kept || k != kept {
			t.Errorf("kind %d first: %d, %d and %d of %d credits", kindOf(first), n, m, k, depth)
		}
		slot := c.free[:cap(c.free)][0] // of the one that came last
		c.Answered(int(slot))
		c.Hold()
		c.Finish(int(slot), third.Request, transport.Result{})
		if c.Add(first) != NoCredit || c.Add(second) != NoCredit || c.Add(third) != Added {
			t.Errorf("kind %d first: took another's credit", kindOf(first))
		}
		l.inFlight.Add(-depth - 1)
	}
}
