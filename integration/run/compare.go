package main

import (
	"bytes"
	"fmt"
)

// wordSize is what mismatches are counted in, in bytes.
const wordSize = 8

// mismatch is a word of device memory that is not the original's. At is its
// offset in the file.
type mismatch struct {
	at        int64
	got, want []byte
}

func (m mismatch) String() string {
	return fmt.Sprintf("at %#x: device memory has %x, the original %x", m.at, m.got, m.want)
}

// compare returns the words of got that differ from want. Both are the file's
// bytes from off, and of equal length; the last word may be short.
func compare(got, want []byte, off int64) []mismatch {
	if bytes.Equal(got, want) {
		return nil
	}
	var found []mismatch
	for i := 0; i < len(want); i += wordSize {
		end := min(i+wordSize, len(want))
		if g, w := got[i:end], want[i:end]; !bytes.Equal(g, w) {
			found = append(found, mismatch{off + int64(i), bytes.Clone(g), bytes.Clone(w)})
		}
	}
	return found
}
