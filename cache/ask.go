package cache

import (
	"fmt"
	"math"
	"time"

	"hbmfs/cache/index"
)

// Access says what of a file a Fetch keeps in device memory.
type Access uint8

const (
	// Exact: the range itself, in one piece if it is less than Config.Extent long.
	// Of a longer one, the whole blocks in it are pieces, and so are its two ends.
	Exact Access = iota
	// Run: whole blocks, for who goes on from the end of the range.
	Run
	// pinning: as Exact, and what comes lies beside what is pinned.
	pinning
)

// ask is the part of a file that one Fetch is about: bytes [off, end), and there
// is more from next on unless that is 0.
type ask struct {
	key      FileKey
	settled  bool
	access   Access
	size     int64
	off, end int64
	next     int64
	bits     int       // log2 of Config.Extent
	until    time.Time // it may wait for room; zero: not at all
}

func (c *Cache) newAsk(src Source, off, length int64, limit int) (ask, error) {
	if off < 0 || length < 0 || off > math.MaxInt64-length || limit < 1 {
		return ask{}, fmt.Errorf("fetch of %d bytes at %d in %d segments: %w", length, off, limit, ErrInvalid)
	}
	a := ask{key: src.Key(), settled: src.Settled(), size: src.Size(), off: off, bits: c.extentBits}
	a.end = max(off, min(off+length, a.size))
	return a, nil
}

// block returns the block of the file that s begins in, and whether it ends
// there.
func (a *ask) block(s index.Span) (number int64, one bool) {
	number = s.From >> a.bits
	return number, (s.To-1)>>a.bits == number
}

// whole is all of a block.
func (a *ask) whole(number int64) index.Span {
	return index.Span{From: number << a.bits, To: min((number+1)<<a.bits, a.size)}
}

func (a *ask) isWhole(s index.Span) bool {
	number, _ := a.block(s)
	return s == a.whole(number)
}

// near reports whether a block has a byte of the range, and one of s.
func (a *ask) near(s index.Span) bool {
	return a.off>>a.bits <= (s.To-1)>>a.bits && s.From>>a.bits <= (a.end-1)>>a.bits
}

// piece is the part of the range, from a byte on, that one extent is to have.
func (a *ask) piece(from int64) index.Span {
	if a.access != Run && a.end-a.off < 1<<a.bits {
		return index.Span{From: from, To: a.end}
	}
	number, _ := a.block(index.Span{From: from, To: from + 1})
	return index.Span{From: from, To: min(a.end, (number+1)<<a.bits)}
}
