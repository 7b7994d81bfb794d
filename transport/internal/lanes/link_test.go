package lanes

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// TestConnectOpensAllOrNone has the second of three connections fail.
func TestConnectOpensAllOrNone(t *testing.T) {
	for what, c := range map[string]struct{ refusal, want error }{
		"refused":     {transport.ErrSession, transport.ErrSession},
		"no target":   {transport.ErrProtocol, transport.ErrProtocol},
		"unreachable": {errors.New("no route"), transport.ErrConnLost},
	} {
		l := newLink(t, 3)
		l.refuse = func(_ context.Context, nth int32) error {
			if nth == 2 {
				return c.refusal
			}
			return nil
		}
		if err := l.Connect(t.Context()); !errors.Is(err, c.want) || !errors.Is(err, c.refusal) {
			t.Errorf("%s: %v", what, err)
		}
		if len(l.made) != 2 {
			t.Errorf("%s: %d connections were made", what, len(l.made))
		}
		for i, k := range l.made {
			if k.retired.Load() != 1 {
				t.Errorf("%s: connection %d was retired %d times", what, i, k.retired.Load())
			}
		}
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	for _, n := range []int{-1, 0, MaxConnections + 1} {
		if newLink(t, n).Connect(t.Context()) == nil {
			t.Errorf("%d connections", n)
		}
	}
	if n := connected(t, MaxConnections).Stats().Connections; n != MaxConnections {
		t.Errorf("%d connections are up", n)
	}
}

// TestBackoff loses the only connection, and refuses the next ten.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		l := newLink(t, 1)
		l.refuse = func(_ context.Context, nth int32) error {
			if at = append(at, time.Now()); nth > 1 && nth < 12 {
				return errors.New("no route")
			}
			return nil
		}
		if err := l.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.conn(0).Kill(transport.ErrConnLost)
		time.Sleep(20 * maxBackoff)
		synctest.Wait()
		if len(at) != 12 || l.Stats().Connections != 1 || l.Stats().Lost != 1 || l.Stats().Reconnects != 1 {
			t.Fatalf("%d attempts, %+v", len(at), l.Stats())
		}
		longest := minBackoff
		for i, d := range gaps(at) {
			if d < longest/2 || d > longest {
				t.Errorf("attempt %d after %v, want %v to %v", i+1, d, longest/2, longest)
			}
			longest = min(2*longest, maxBackoff)
		}
		// A connection that brought something shows that the target is well.
		at = at[:0]
		l.conn(0).Progressed(1)
		lost := time.Now()
		l.conn(0).Kill(transport.ErrConnLost)
		time.Sleep(maxBackoff)
		synctest.Wait()
		if len(at) != 1 || at[0].Sub(lost) > minBackoff {
			t.Errorf("%d attempts, the first after %v", len(at), at[0].Sub(lost))
		}
		l.Close()
	})
}

func gaps(at []time.Time) (all []time.Duration) {
	for i := range at[1:] {
		all = append(all, at[i+1].Sub(at[i]))
	}
	return all
}

// TestRefusedSessionEndsTheLink has it refused while one of two connections is
// replaced: the other one ends too.
func TestRefusedSessionEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connected(t, 2)
		l.refuse = func(context.Context, int32) error { return transport.ErrSession }
		ended := make(chan error, 1)
		l.conn(1).Kill(transport.ErrConnLost)
		synctest.Wait()
		first := l.conn(0)
		if n, err := l.Submit(requests(ended, 1)); n != 1 {
			t.Fatal(err)
		}
		time.Sleep(maxBackoff)
		if err := <-ended; !errors.Is(err, transport.ErrSession) || first.retired.Load() != 1 {
			t.Errorf("what was under way ended with %v", err)
		}
		if n, err := l.Submit(requests(ended, 1)); n != 0 || !errors.Is(err, transport.ErrSession) {
			t.Errorf("took %d: %v", n, err)
		}
		if _, err := l.Attach(t.Context(), transporttest.NewFakeDevice(t, 8)); !errors.Is(err, transport.ErrSession) {
			t.Errorf("attach: %v", err)
		}
		if l.dials.Load() != 3 || l.ended.Load() != 1 {
			t.Errorf("dialled %d times, ended %d times", l.dials.Load(), l.ended.Load())
		}
		l.Close()
	})
}

// TestCloseInterruptsDialling closes a link that redials one connection.
func TestCloseInterruptsDialling(t *testing.T) {
	l := connected(t, 1)
	dialling := make(chan struct{})
	l.refuse = func(ctx context.Context, _ int32) error {
		close(dialling)
		<-ctx.Done()
		return nil // it came up after all
	}
	l.conn(0).Kill(transport.ErrConnLost)
	<-dialling
	l.Close()
	if st := l.Stats(); st.Connections != 0 || st.Reconnects != 0 {
		t.Errorf("%+v", st)
	}
}

// TestCloseWaits has a request whose payload is on its way to the device, one
// that goes by no lane, and a goroutine.
func TestCloseWaits(t *testing.T) {
	l := connected(t, 1)
	ended := make(chan error, 1)
	l.Submit(requests(ended, 1))
	c := l.conn(0)
	slot := slices.Collect(c.Unanswered())[0]
	c.Answered(slot)
	l.Begin()
	gate, closed := make(chan struct{}), make(chan struct{})
	l.Go(func() { <-gate })
	go func() {
		l.Close()
		close(closed)
	}()
	for _, step := range []func(){
		func() { close(gate) },
		func() { c.Finish(slot, c.reqs[slot], transport.Result{}) },
		func() { l.End(nil, 10) },
	} {
		select {
		case <-closed:
			t.Fatal("closed before all was done")
		case <-time.After(5 * time.Millisecond):
		}
		step()
	}
	<-closed
	if st := l.Stats(); st != (transport.LinkStats{Requests: 2, Bytes: 11}) || <-ended != nil {
		t.Errorf("%+v", st)
	}
	if l.Begin() || l.Go(func() { t.Error("ran") }) {
		t.Error("something began on a link that was closed")
	}
}
