package rdma

import (
	"fmt"
	"sync"

	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

const (
	// bounceSize is how much payload of a link may be in bounce memory at a time,
	// in bytes: two of the largest requests.
	bounceSize = 2 * wire.MaxLen
	// readSize is how much of its plain reads may be on its way, or with their
	// callers, at a time, in bytes.
	readSize = wire.MaxLen
)

// bouncePage is what bounce memory is handed out in, in bytes.
const bouncePage = 4096

// bounce is memory of a link that payload passes through on its way to where
// the device can't write, or, of another one, that plain reads end in. It outlives
// devices: each registers it anew.
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
	freed   chan struct{} // closed with the next piece that is given back; nil if nobody waits
	closed  bool          // the memory goes with the last piece
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
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeLocked(n)
}

func (b *bounce) takeLocked(n int) []byte {
	want := (n + bouncePage - 1) / bouncePage
	if b.closed || b.used > 0 && want < b.refused {
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

// tryTake is take that, without a piece, returns what is closed when there may be
// one.
func (b *bounce) tryTake(n int) (piece []byte, freed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if piece = b.takeLocked(n); piece == nil && b.freed == nil {
		b.freed = make(chan struct{})
	}
	return piece, b.freed
}

// give takes back what take returned.
func (b *bounce) give(piece []byte) {
	at := verbs.Addr(piece) - verbs.Addr(b.mem)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs[at/bouncePage] = 0
	b.used--
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
	if b.closed && b.used == 0 {
		_ = verbs.Free(b.mem)
	}
}

// close gives the memory back once no piece is in use; no more is taken.
func (b *bounce) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.used > 0 {
		return nil
	}
	return verbs.Free(b.mem)
}
