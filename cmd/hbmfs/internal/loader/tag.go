package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrWrong: what was read is not what belongs there.
var ErrWrong = errors.New("wrong bytes")

// Each 8-byte word of a tagged file tells the workload, the file and the word's
// place in it. No word is 0.
const (
	fileShift     = 38 // below: the word's place in the file
	workloadShift = 60
	maxFiles      = 1 << (workloadShift - fileShift)
)

func (w Workload) word(file int, off int64) uint64 {
	return w.id<<workloadShift | uint64(file)<<fileShift | uint64(off)/8
}

// fill makes b what belongs at off of a file. off is a multiple of 8.
func (w Workload) fill(b []byte, file int, off int64) {
	next := w.word(file, off)
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, next)
		next++
	}
	var last [8]byte
	binary.LittleEndian.PutUint64(last[:], next)
	copy(b, last[:])
}

// check compares the words that lie wholly in b, which was read at off of a file.
// Those of its ends only, unless all is set.
func (w Workload) check(b []byte, file int, off int64, all bool) error {
	skip := -off & 7
	if int64(len(b)) < skip+8 {
		return nil
	}
	b, off = b[skip:len(b)-int(off+int64(len(b)))&7], off+skip
	if !all && len(b) > 16 {
		last := len(b) - 8
		if err := w.checkWords(b[:8], file, off); err != nil {
			return err
		}
		b, off = b[last:], off+int64(last)
	}
	return w.checkWords(b, file, off)
}

// origin says where a word belongs, if it is of a data set of w.
func (w Workload) origin(word uint64) string {
	file, off := word>>fileShift&(maxFiles-1), int64(word&(1<<fileShift-1)*8)
	if word>>workloadShift != w.id || file >= uint64(w.Files) || off >= w.size(int(file)) {
		return ""
	}
	return fmt.Sprintf(" (which belongs at %d of file %d)", off, file)
}

func (w Workload) checkWords(b []byte, file int, off int64) error {
	want := w.word(file, off)
	for i := 0; i+8 <= len(b); i += 8 {
		if got := binary.LittleEndian.Uint64(b[i:]); got != want {
			return fmt.Errorf("%w: at %d is the word %#016x%s, and not %#016x", ErrWrong, off+int64(i), got, w.origin(got), want)
		}
		want++
	}
	return nil
}
