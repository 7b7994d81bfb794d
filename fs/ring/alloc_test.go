//go:build !race

package ring

import (
	"testing"

	"hbmfs/fs/uapi"
)

// TestHitsAllocateNothing: FETCH of what is there, with the RELEASE of the one before.
func TestHitsAllocateNothing(t *testing.T) {
	p := newProgram(t, 4, 0)
	op := uapi.RingOp{Op: uapi.RingFetch, File: p.register(newFakeFile(1000)), Length: 10}
	step := func() {
		d := p.do(op)
		if d.Error != 0 {
			t.Fatalf("%+v", d)
		}
		op.Handle = d.Handle
	}
	step()
	if n := testing.AllocsPerRun(5000, step); n != 0 {
		t.Errorf("%.2f allocations", n)
	}
}
