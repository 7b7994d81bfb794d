package loader

import (
	"slices"
	"testing"
)

// TestOrderIsTheSameEverywhere: the order is a part of what is measured, and so
// pinned here.
func TestOrderIsTheSameEverywhere(t *testing.T) {
	for _, c := range []struct {
		seed  uint64
		epoch int
		want  []uint32
	}{
		{1, 1, []uint32{6, 3, 0, 9, 4, 7, 5, 8, 1, 2}},
		{1, 2, []uint32{7, 9, 8, 6, 2, 3, 1, 4, 0, 5}},
		{2, 1, []uint32{0, 9, 5, 2, 4, 7, 1, 6, 3, 8}},
	} {
		if got := Order(c.seed, c.epoch, len(c.want)); !slices.Equal(got, c.want) {
			t.Errorf("seed %d, epoch %d: %v, want %v", c.seed, c.epoch, got, c.want)
		}
	}
}

func TestOrderHasEachOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000, 12345} {
		got := Order(7, 3, n)
		slices.Sort(got)
		for i, number := range got {
			if number != uint32(i) {
				t.Fatalf("%d samples: %d is at %d", n, number, i)
			}
		}
	}
}
