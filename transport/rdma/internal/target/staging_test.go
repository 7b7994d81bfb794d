package target

import (
	"context"
	"testing"
)

func testArena(buffers int) *arena { return arenaOf(make([]byte, buffers*pieceSize)) }

// takeAll takes what there is for s.
func takeAll(s staging) (held [][]byte) {
	for b := s.tryTake(); b != nil; b = s.tryTake() {
		held = append(held, b)
	}
	return held
}

func TestConnectionHasItsLimit(t *testing.T) {
	a := testArena(stagingBuffers)
	s := a.join("client")
	held := takeAll(s)
	if len(held) != maxHeld {
		t.Errorf("%d buffers, want %d", len(held), maxHeld)
	}
	if len(held[0]) != pieceSize || &held[0][0] == &held[1][0] {
		t.Error("buffers overlap")
	}
	for _, b := range held {
		s.put(b)
	}
	if n := a.limit.Used(); n != 0 || len(a.free) != stagingBuffers {
		t.Errorf("after all came back: %d in use, %d free", n, len(a.free))
	}
}

// TestClientLeavesSome has one client with many connections take all it can.
func TestClientLeavesSome(t *testing.T) {
	a := testArena(stagingBuffers)
	taken := 0
	for range 128 {
		taken += len(takeAll(a.join("greedy")))
	}
	if taken != stagingBuffers/2 {
		t.Errorf("one client took %d of %d buffers", taken, stagingBuffers)
	}
	if n := len(takeAll(a.join("other"))); n != maxHeld {
		t.Errorf("another gets %d buffers, want %d", n, maxHeld)
	}
}

// TestTakeWaits for a buffer to come back, or the connection's end.
func TestTakeWaits(t *testing.T) {
	a := testArena(1)
	one, other := a.join("one"), a.join("other")
	b := one.tryTake()
	got := make(chan []byte)
	go func() { got <- other.take(t.Context()) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if other.take(ctx) != nil {
		t.Error("a buffer that is in use")
	}
	one.put(b)
	other.put(<-got)
	if n := a.limit.Used(); n != 0 || len(a.free) != 1 {
		t.Errorf("%d in use, %d free", n, len(a.free))
	}
}
