package loader

import (
	"errors"
	"strings"
	"testing"
)

// TestWrongWords: each wrong word is found where all are compared, and a wrong one
// at either end always; and none in what is right, however it is cut.
func TestWrongWords(t *testing.T) {
	const size = 8 * 40
	w := named(t, "resnet50")
	data := make([]byte, size+5)
	w.fill(data, 3, 0)
	for from := range 17 {
		for to := from; to <= len(data); to++ {
			if err := w.check(data[from:to], 3, int64(from), true); err != nil {
				t.Fatalf("[%d:%d]: %v", from, to, err)
			}
		}
	}
	for at := range size {
		data[at] ^= 1
		for _, all := range []bool{true, false} {
			err := w.check(data, 3, 0, all)
			seen := all || at < 8 || at >= size-8
			if errors.Is(err, ErrWrong) != seen {
				t.Errorf("byte %d is wrong, all words: %v: %v", at, all, err)
			}
		}
		data[at] ^= 1
	}
}

// TestWordsTell: another file, place or workload, and no data at all, are all wrong.
func TestWordsTell(t *testing.T) {
	w, other := named(t, "retinanet"), named(t, "cosmoflow")
	data := make([]byte, 4096)
	w.fill(data, 7, 8192)
	if err := w.check(data, 7, 8192, false); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"another file":     w.check(data, 8, 8192, false),
		"another place":    w.check(data, 7, 4096, false),
		"another workload": other.check(data, 7, 8192, false),
		"zeros":            w.check(make([]byte, 4096), 0, 0, false),
	} {
		if !errors.Is(err, ErrWrong) || strings.Contains(err.Error(), "belongs") != (what == "another file" || what == "another place") {
			t.Errorf("%s: %v, want ErrWrong", what, err)
		}
	}
}
