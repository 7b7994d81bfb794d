package main

import "testing"

// TestRead finds what is wrong in what it reads, and the versions in what is
// right.
func TestRead(t *testing.T) {
	b := content(3, 7)
	v, err := read(b[5:4096], 3, 5, false)
	if err != nil || v != (versions{7, 7}) {
		t.Fatalf("%v, %v", v, err)
	}
	copy(b[64:72], content(3, 8)[64:72])
	if v, err := read(b, 3, 0, false); err != nil || v != (versions{7, 8}) {
		t.Errorf("two versions: %v, %v", v, err)
	}
	if v, err := read(b[1:5], 3, 1, false); err != nil || !v.none() {
		t.Errorf("no whole word: %v, %v", v, err)
	}
	for what, spoil := range map[string]func([]byte){
		"another file":  func(b []byte) { copy(b, content(9, 7)[:8]) },
		"another place": func(b []byte) { copy(b, b[8:16]) },
		"zeros":         func(b []byte) { clear(b[:8]) },
		"a bit":         func(b []byte) { b[0] ^= 0x40 },
	} {
		b := content(3, 7)
		spoil(b)
		if _, err := read(b, 3, 0, false); err == nil {
			t.Errorf("%s is not found", what)
		}
	}
	clear(b[:8])
	if _, err := read(b, 3, 0, true); err != nil {
		t.Errorf("a hole: %v", err)
	}
}

func TestJudge(t *testing.T) {
	w := window{oldest: 4, newest: 6}
	for _, c := range []struct {
		v          versions
		may, mixed bool
		good       bool
	}{
		{versions{4, 4}, false, false, true},
		{versions{6, 6}, false, false, true},
		{versions{3, 3}, false, false, false},
		{versions{3, 3}, true, false, true},
		{versions{7, 7}, true, false, false},
		{versions{4, 5}, false, false, false},
		{versions{4, 5}, false, true, true},
		{versions{1, 0}, false, false, true},
	} {
		if err := w.judge(c.v, c.may, c.mixed); (err == nil) != c.good {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
