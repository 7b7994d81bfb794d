package rdma

import (
	"errors"
	"testing"
)

// hold takes n buffers, which must be there.
func hold(t *testing.T, a *arena, s *share, n int) (held []*staging) {
	t.Helper()
	for range n {
		b, ok := a.tryTake(s)
		if !ok {
			t.Fatalf("no buffer after %d of %d", len(held), n)
		}
		held = append(held, b)
	}
	return held
}

func TestConnectionHasItsLimit(t *testing.T) {
	a := arenaOf(make([]byte, stagingBuffers*pieceSize))
	s := &share{session: new(holding)}
	held := hold(t, a, s, maxHeld)
	if _, ok := a.tryTake(s); ok {
		t.Error("more than its limit")
	}
	if len(held[0].mem) != pieceSize || &held[0].mem[0] == &held[1].mem[0] {
		t.Error("buffers overlap")
	}
	for _, b := range held {
		a.put(b)
	}
	if a.inUse() != 0 || s.held != 0 || s.session.held != 0 {
		t.Errorf("after all came back: %d in use, %d held", a.inUse(), s.held)
	}
}

// TestSessionLeavesSome has one session with many connections take all it can.
func TestSessionLeavesSome(t *testing.T) {
	a := arenaOf(make([]byte, stagingBuffers*pieceSize))
	greedy := new(holding)
	taken := 0
	for range 128 {
		s := &share{session: greedy}
		for {
			if _, ok := a.tryTake(s); !ok {
				break
			}
			taken++
		}
	}
	if taken != stagingBuffers/2 {
		t.Errorf("one session took %d of %d buffers", taken, stagingBuffers)
	}
	hold(t, a, &share{session: new(holding)}, maxHeld)
}

// TestWaitersAreServedInOrder has two sessions wait behind one that has reached
// its limit, which must not be in their way.
func TestWaitersAreServedInOrder(t *testing.T) {
	a := arenaOf(make([]byte, 2*pieceSize))
	first, second, third := &share{session: new(holding)}, &share{session: new(holding)}, &share{session: new(holding)}
	b1, b2 := hold(t, a, first, 1)[0], hold(t, a, second, 1)[0]
	again, _ := a.claim(first)
	c2, _ := a.claim(second)
	c3, _ := a.claim(third)
	a.put(b2)
	select {
	case b := <-c2.granted:
		a.put(b)
	default:
		t.Fatal("the second got nothing, and it may have one")
	}
	select {
	case b := <-c3.granted:
		a.put(b)
	default:
		t.Fatal("the third got nothing")
	}
	if len(again.granted) != 0 {
		t.Error("the first has two of two buffers")
	}
	if _, ok := a.tryTake(third); ok {
		t.Error("past one that waits")
	}
	a.put(b1)
	if len(again.granted) != 1 {
		t.Error("the first got nothing")
	}
}

func TestTakeEnds(t *testing.T) {
	a := arenaOf(make([]byte, pieceSize))
	b := hold(t, a, &share{session: new(holding)}, 1)[0]
	quit, ended := make(chan struct{}), make(chan error)
	go func() {
		_, err := a.take(&share{session: new(holding)}, quit)
		ended <- err
	}()
	close(quit)
	if err := <-ended; !errors.Is(err, errEnding) {
		t.Errorf("ended with %v", err)
	}
	a.put(b)
	if a.inUse() != 0 || a.waiting.Len() != 0 {
		t.Errorf("%d in use, %d waiting", a.inUse(), a.waiting.Len())
	}
}
