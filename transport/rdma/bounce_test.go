package rdma

import (
	"math/rand/v2"
	"testing"

	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

func testBounce(t *testing.T, size int) *bounce {
	t.Helper()
	b, err := newBounce(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	return b
}

func TestBounceHoldsTwoOfTheLargest(t *testing.T) {
	b := testBounce(t, bounceSize)
	one, two := b.take(wire.MaxLen), b.take(wire.MaxLen)
	if len(one) != wire.MaxLen || len(two) != wire.MaxLen || b.take(1) != nil {
		t.Fatalf("%d, %d, and more", len(one), len(two))
	}
	b.give(one)
	if small := b.take(1); len(small) != 1 || cap(small) != 1 || b.take(wire.MaxLen) != nil {
		t.Errorf("%d of %d bytes", len(small), cap(small))
	}
}

// TestBounceDoesNotStarve has a large piece wait for room that small ones would
// take, and then be given up.
func TestBounceDoesNotStarve(t *testing.T) {
	b := testBounce(t, 4*bouncePage)
	var small [4][]byte
	for i := range small {
		small[i] = b.take(bouncePage)
	}
	if b.take(2*bouncePage) != nil {
		t.Fatal("room for five pages in four")
	}
	b.give(small[0])
	if b.take(bouncePage) != nil {
		t.Error("a small piece went before the large one")
	}
	b.give(small[1])
	large := b.take(2 * bouncePage)
	if large == nil {
		t.Fatal("no room for the large piece")
	}
	if b.take(3*bouncePage) != nil {
		t.Error("room for seven pages in four")
	}
	for _, p := range [][]byte{large, small[2], small[3]} {
		if b.take(bouncePage) != nil {
			t.Error("a small piece went before the large one")
		}
		b.give(p)
	}
	if b.take(bouncePage) == nil {
		t.Error("a piece that no one wants any more keeps others out")
	}
}

// TestBouncePiecesAreApart takes and gives at random: no byte is in two pieces,
// and all of the memory is there at the end.
func TestBouncePiecesAreApart(t *testing.T) {
	const size = 64 * bouncePage
	b := testBounce(t, size)
	rng := rand.New(rand.NewPCG(1, 2))
	var held [][]byte
	for i := range 5000 {
		if p := b.take(1 + rng.IntN(9*bouncePage)); p != nil {
			for j := range p {
				if p[j] != 0 {
					t.Fatalf("step %d: byte %d of a new piece is in another", i, j)
				}
				p[j] = 1
			}
			held = append(held, p)
			continue
		}
		k := rng.IntN(len(held))
		clear(held[k])
		b.give(held[k])
		held[k] = held[len(held)-1]
		held = held[:len(held)-1]
	}
	for _, p := range held {
		b.give(p)
	}
	if all := b.take(size); len(all) != size || verbs.Addr(all) != verbs.Addr(b.mem) {
		t.Errorf("%d of %d bytes are left", len(all), size)
	}
}

func TestBounceDoesNotAllocate(t *testing.T) {
	b := testBounce(t, 1<<20)
	if n := testing.AllocsPerRun(100, func() { b.give(b.take(100 << 10)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestBounceTellsWhoWaits has two wait for what a third gives back.
func TestBounceTellsWhoWaits(t *testing.T) {
	b := testBounce(t, bouncePage)
	piece, _ := b.tryTake(1)
	none, freed := b.tryTake(1)
	_, again := b.tryTake(1)
	if piece == nil || none != nil || freed == nil || again != freed {
		t.Fatal("a piece in use was given away, or who waits is not told")
	}
	b.give(piece)
	<-freed
	if piece, _ = b.tryTake(1); piece == nil {
		t.Error("what was given back is not to be had")
	}
	b.give(piece)
}

// TestBounceOutlivesItsLink has a piece in use when the memory is closed.
func TestBounceOutlivesItsLink(t *testing.T) {
	b, err := newBounce(2 * bouncePage)
	if err != nil {
		t.Fatal(err)
	}
	piece := b.take(100)
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if b.take(1) != nil {
		t.Error("a piece of memory that is closed")
	}
	piece[99] = 1 // it is still there
	b.give(piece)
}
