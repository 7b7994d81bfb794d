package modeltest

import (
	"slices"
	"testing"
)

// TestShrink: what is left of a failing input is what makes it fail.
func TestShrink(t *testing.T) {
	ops := Shrink(Random(7, 400), func(ops []byte) bool {
		n := 0
		for op := range slices.Chunk(ops, OpBytes) {
			if op[1] >= 16 {
				n++
			}
		}
		return n >= 3
	})
	if len(ops) != 3*OpBytes || slices.Max(ops) >= 32 {
		t.Errorf("shrunk to %v", ops)
	}
}

// TestTry: a trial that fails says how.
func TestTry(t *testing.T) {
	if how := Try(func() { Trial{t}.Fatalf("%d", 7) }); how != "7" {
		t.Errorf("it failed with %q", how)
	}
	if how := Try(func() {}); how != "" {
		t.Errorf("it failed with %q, and did not", how)
	}
}
