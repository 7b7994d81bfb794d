package main

import (
	"encoding/binary"
	"fmt"
)

// Each word of a file, eight bytes at a multiple of eight, tells its file (12
// bits), version (20) and place (32).
const wordLen = 8

func word(file int, version uint64, off int64) uint64 {
	return uint64(file)<<52 | (version&(1<<20-1))<<32 | uint64(off/wordLen)
}

// content is a whole version of a file.
func content(file int, version uint64) []byte {
	size := sizeOf(file, version)
	b := make([]byte, 0, size+wordLen)
	for off := int64(0); off < size; off += wordLen {
		b = binary.BigEndian.AppendUint64(b, word(file, version, off))
	}
	return b[:size]
}

// sizeOf is from a word to three extents for the files of the root, whatever their
// version, and from 4 to 300 KiB for those of the set, another for each version.
func sizeOf(file int, version uint64) int64 {
	if isSmall(file) {
		mixed := (uint64(file)<<20 | version) * 0x9e3779b97f4a7c15
		return 4<<10 + int64(mixed>>32%(296<<10))
	}
	sizes := [...]int64{8, 4096, 64 << 10, 1 << 20, 1<<20 + 8, 3<<20 + 12344}
	return sizes[file%len(sizes)]
}

// isSmall says that the file is of the set.
func isSmall(file int) bool { return file >= rootFiles }

// replaced says that the file is only ever replaced by another of its name, so
// that what is open stays what it was.
func replaced(file int) bool { return file%4 == 0 }

// mixed says that the file is now replaced and now written in place. The others are
// only written in place.
func mixed(file int) bool { return isSmall(file) && file%4 == 1 }

// wordsIn is how many bytes of n from off are in whole words.
func wordsIn(off, n int64) int64 {
	skip := -off & (wordLen - 1)
	return max(0, n-skip) / wordLen * wordLen
}

// versions are those of the whole words in a piece of a file.
type versions struct{ lowest, highest uint64 }

// read tells the versions in b, which comes from off. The error is about the
// first word that is not of the file, or not of that place. Where holes says so,
// zeros are of no version: a writer may have cut the file off.
func read(b []byte, file int, off int64, holes bool) (v versions, err error) {
	v.lowest = ^uint64(0)
	skip := -off & (wordLen - 1)
	for at := skip; at+wordLen <= int64(len(b)); at += wordLen {
		got := binary.BigEndian.Uint64(b[at:])
		if got == 0 && holes {
			continue
		}
		version := got >> 32 & (1<<20 - 1)
		if got != word(file, version, off+at) || version == 0 {
			return v, fmt.Errorf("file %d offset %d: the word there is %#016x (file %d, version %d, offset %d)",
				file, off+at, got, got>>52, version, got&(1<<32-1)*wordLen)
		}
		v.lowest, v.highest = min(v.lowest, version), max(v.highest, version)
	}
	return v, nil
}

// none says that there was no whole word.
func (v versions) none() bool { return v.lowest > v.highest }

// window is which versions an answer may be of.
type window struct{ oldest, newest uint64 }

// judge returns an error if an answer passes something off as what it is not.
// may says that the answer was flagged: its version is not vouched for. mixed
// says that it may be of several.
func (w window) judge(v versions, may, mixed bool) error {
	switch {
	case v.none():
		return nil
	case v.lowest != v.highest && !mixed:
		return fmt.Errorf("versions %d to %d in one answer", v.lowest, v.highest)
	case v.highest > w.newest:
		return fmt.Errorf("version %d, which is not written yet: %d is the newest", v.highest, w.newest)
	case v.lowest < w.oldest && !may:
		return fmt.Errorf("version %d, when %d was complete before it was asked for", v.lowest, w.oldest)
	}
	return nil
}
