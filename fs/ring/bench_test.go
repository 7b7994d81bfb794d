package ring

import (
	"testing"

	"hbmfs/fs/uapi"
)

// BenchmarkHit is of the ring alone: FETCH of what is there, each with the RELEASE of
// an earlier one.
func BenchmarkHit(b *testing.B) {
	for _, depth := range []int{1, 64} {
		b.Run(map[int]string{1: "depth 1", 64: "depth 64"}[depth], func(b *testing.B) {
			p := newProgram(b, 64, 0)
			op := uapi.RingOp{Op: uapi.RingFetch, File: p.register(newFakeFile(1000)), Length: 10}
			handles := make([]uint64, depth)
			b.ReportAllocs()
			for i := 0; i < b.N; i += depth {
				for j := range handles {
					op.UserData, op.Handle = uint64(j), handles[j]
					p.put(op)
				}
				p.submit()
				for range handles {
					d := p.next()
					handles[d.UserData] = d.Handle
				}
			}
		})
	}
}
