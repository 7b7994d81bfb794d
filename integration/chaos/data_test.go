package main

import (
	"math/rand/v2"
	"testing"
)

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

// TestSpace finds bytes that were written beside a range.
func TestSpace(t *testing.T) {
	s := space{mem: make([]byte, 2*slotLen), free: []int{0, 1}}
	at := s.place(rand.New(rand.NewPCG(1, 1)))
	if at <= slotLen || at+largest >= 2*slotLen || len(s.free) != 1 {
		t.Fatalf("at %d, %v are free", at, s.free)
	}
	copy(s.mem[at:], content(3, 7)[:9])
	if b, err := s.at(at, 8, 8); err == nil {
		t.Errorf("% x, and the byte behind it is not found", b)
	}
	if b, err := s.at(at, 8, 9); err != nil || len(b) != 8 {
		t.Errorf("% x, %v", b, err)
	}
	s.mem[at-1] = 0
	if _, err := s.at(at, 8, 9); err == nil {
		t.Error("the byte before it is not found")
	}
	s.back(at, true)
	if len(s.free) != 2 || s.free[1] != 1 {
		t.Errorf("%v are free", s.free)
	}
}
