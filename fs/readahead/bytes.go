package readahead

import "hbmfs/transport"

// Bytes is what a read lends, in up to two pieces: good until Release.
type Bytes struct {
	pieces [2][]byte
	of     [2]transport.Buffer
	n      int
}

func (b *Bytes) add(of transport.Buffer, piece []byte) {
	b.of[b.n], b.pieces[b.n] = of, piece
	b.n++
}

// Pieces are the bytes, in order.
func (b *Bytes) Pieces() [][]byte { return b.pieces[:b.n] }

// Len is how many bytes there are.
func (b *Bytes) Len() int { return len(b.pieces[0]) + len(b.pieces[1]) }

// Release gives the bytes back. There are none then.
func (b *Bytes) Release() {
	for _, of := range b.of[:b.n] {
		of.Release()
	}
	*b = Bytes{}
}
