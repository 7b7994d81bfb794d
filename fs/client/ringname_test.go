package client

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// TestRingNameTooLong: no name is cut to another, which 16 bits would do to its length.
func TestRingNameTooLong(t *testing.T) {
	const entries, names = 1, 1 << 17
	words := make([]uint64, (uapi.RingLen(entries, names)+7)/8)
	r := &Ring{mem: uapi.InitRing(bytesOfWords(words), 1, entries, names), names: names}
	for n, want := range map[int]error{uapi.RingNameMax: nil, uapi.RingNameMax + 1: unix.ENAMETOOLONG, 1<<16 + 1: unix.ENAMETOOLONG} {
		for _, kind := range []OpKind{OpFetch, OpFetchInto} {
			err := r.put(&Op{Kind: kind, Name: strings.Repeat("x", n), Into: &Buffer{}})
			if !errors.Is(err, want) {
				t.Errorf("a name of %d bytes: %v, want %v", n, err, want)
			}
		}
	}
}

func bytesOfWords(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}
