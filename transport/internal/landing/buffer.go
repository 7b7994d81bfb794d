package landing

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two. The smallest is a burst of small payloads,
// the largest is what Largest says.
const (
	minShift = 16
	maxShift = 24
	// Largest is the size of the largest pooled buffer, in bytes.
	Largest = 1 << maxShift
	// Room is how many bytes there are before B in Raw, and again behind it: for
	// headers that are to be sent along. It keeps B aligned to pages, for direct
	// I/O.
	Room = 4096
)

var pools [maxShift - minShift + 1]sync.Pool

// Buffer is host memory on loan from the pools: a [transport.Buffer].
type Buffer struct {
	// B is as long as the buffer is large: at least what was asked for. It is
	// Raw without the room around it.
	B, Raw []byte
	class  int
	n      int // what was asked for
}

func classOf(n int) int { return max(bits.Len(uint(max(n, 1)-1)), minShift) - minShift }

// BufferSize is how large GetBuffer(n) is, in bytes.
func BufferSize(n int) int { return 1 << (classOf(n) + minShift) }

// GetBuffer returns a buffer of at least n bytes, at most [Largest]. Its
// content is whatever its last user left there.
func GetBuffer(n int) *Buffer {
	class := classOf(n)
	if b, ok := pools[class].Get().(*Buffer); ok {
		b.n = n
		return b
	}
	size := BufferSize(n)
	raw := make([]byte, Room+size+Room)
	return &Buffer{B: raw[Room:][:size:size], Raw: raw, class: class, n: n}
}

// Bytes is as many of the buffer's as were asked for.
func (b *Buffer) Bytes() []byte { return b.B[:b.n:b.n] }

// Release gives the buffer back. Nothing may use it afterwards.
func (b *Buffer) Release() { pools[b.class].Put(b) }
