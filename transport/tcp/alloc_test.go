//go:build !race

package tcp

import (
	"testing"

	"hbmfs/transport/transporttest"
)

// TestReadsDoNotAllocate is not for the race detector, which empties pools.
func TestReadsDoNotAllocate(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	s := startTarget(t, source).session
	s.Connections = 1
	l := dial(t, s)
	soloUp(t, l, file)
	ctx := t.Context()
	for _, n := range []int{smallSize, 64 << 10} {
		allocs := testing.AllocsPerRun(500, func() {
			b, res := l.Read(ctx, file, 0, n)
			if res.Err != nil {
				t.Fatal(res.Err)
			}
			b.Release()
		})
		if allocs != 0 {
			t.Errorf("%v allocations a read of %d bytes", allocs, n)
		}
	}
}
