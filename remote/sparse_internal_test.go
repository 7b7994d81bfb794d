package remote

import (
	"errors"
	"syscall"
	"testing"

	"hbmfs/remote/namespace"
)

// TestSeek compares with a map of every byte.
func TestSeek(t *testing.T) {
	const size = 12
	for _, data := range [][]uint64{nil, {0, 12}, {0, 1}, {11, 12}, {3, 5, 5, 6, 8, 11}, {0, 4, 9, 12}} {
		isData := func(off int64) bool {
			for i := 0; i < len(data); i += 2 {
				if off >= int64(data[i]) && off < int64(data[i+1]) {
					return true
				}
			}
			return false
		}
		f := &File{attr: namespace.Attr{Size: size}}
		f.spans.Store(&namespace.Spans{End: size, Data: data})
		for off := int64(-1); off <= size; off++ {
			next := func(is func(int64) bool) int64 {
				at := off
				for at >= 0 && at < size && !is(at) {
					at++
				}
				return at
			}
			at, err := f.SeekData(t.Context(), off)
			if want := next(isData); off < 0 || want == size {
				if !errors.Is(err, syscall.ENXIO) {
					t.Errorf("%v: data from %d: %d, %v, want ENXIO", data, off, at, err)
				}
			} else if at != want || err != nil {
				t.Errorf("%v: data from %d: %d, %v, want %d", data, off, at, err, want)
			}
			at, err = f.SeekHole(t.Context(), off)
			if want := next(func(at int64) bool { return !isData(at) }); off < 0 || off == size {
				if !errors.Is(err, syscall.ENXIO) {
					t.Errorf("%v: hole from %d: %d, %v, want ENXIO", data, off, at, err)
				}
			} else if at != want || err != nil {
				t.Errorf("%v: hole from %d: %d, %v, want %d", data, off, at, err, want)
			}
		}
	}
}

// TestSeekFullFile: a file without holes asks nobody.
func TestSeekFullFile(t *testing.T) {
	f := &File{attr: namespace.Attr{Size: 4097, Blocks: 9}}
	if at, err := f.SeekData(t.Context(), 7); at != 7 || err != nil {
		t.Errorf("data: %d, %v", at, err)
	}
	if at, err := f.SeekHole(t.Context(), 7); at != 4097 || err != nil {
		t.Errorf("hole: %d, %v", at, err)
	}
}
