package rdma

import (
	"fmt"
	"sync"

	"hbmfs/transport/rdma/internal/verbs"
)

// bounceSize is how much payload of a link may be in bounce memory at a time, in
// bytes: two of the largest requests.
const bounceSize = 2 * MaxLen

// bouncePage is what bounce memory is handed out in, in bytes.
const bouncePage = 4096

// bounce is memory of a link that payload passes through on its way to where
// the device can't write. It outlives devices: each registers it anew.
type bounce struct {
	mem []byte

	mu sync.Mutex // guards what follows
	// runs holds, at the first page of each piece that was taken, how many pages
	// it has; all else is 0.
	runs []uint16
	used int // pieces that were taken
	// refused is the pages of the largest piece that there was no room for. No
	// smaller one is taken before it, as long as others are to be given back.
	refused int
}

func newBounce(size int) (*bounce, error) {
	mem, err := verbs.Alloc(size)
	if err != nil {
		return nil, fmt.Errorf("bounce memory: %w", err)
	}
	return &bounce{mem: mem, runs: make([]uint16, size/bouncePage)}, nil
}

// take returns n bytes, 1 to MaxLen, or nil while there is no such piece, or a
// larger one was asked for before.
func (b *bounce) take(n int) []byte {
	want := (n + bouncePage - 1) / bouncePage
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used > 0 && want < b.refused {
		return nil
	}
	first := b.find(want)
	if first < 0 {
		b.refused = want
		return nil
	}
	b.refused = 0
	b.used++
	b.runs[first] = uint16(want)
	at := first * bouncePage
	return b.mem[at : at+n : at+n]
}

// find returns the first page of want free ones, -1 if there are none.
func (b *bounce) find(want int) int {
	for first, i := 0, 0; i < len(b.runs); {
		if run := int(b.runs[i]); run > 0 {
			i += run
			first = i
			continue
		}
		if i++; i-first == want {
			return first
		}
	}
	return -1
}

// give takes back what take returned.
func (b *bounce) give(piece []byte) {
	at := verbs.Addr(piece) - verbs.Addr(b.mem)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs[at/bouncePage] = 0
	b.used--
}

// close gives the memory back; no piece may be in use.
func (b *bounce) close() error { return verbs.Free(b.mem) }
