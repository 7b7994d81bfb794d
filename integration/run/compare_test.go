package main

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestCompareFindsEachWord(t *testing.T) {
	const off = 1 << 32
	want := make([]byte, 1003)
	rand.NewChaCha8([32]byte{1}).Read(want)
	if found := compare(bytes.Clone(want), want, off); found != nil {
		t.Fatalf("equal bytes: %v", found)
	}
	for i := range want {
		got := bytes.Clone(want)
		got[i] ^= 0x80
		found := compare(got, want, off)
		word := off + int64(i/wordSize*wordSize)
		if len(found) != 1 || found[0].at != word || bytes.Equal(found[0].got, found[0].want) {
			t.Fatalf("byte %d spoiled: found %v, want one mismatch at %d", i, found, word)
		}
	}
}
