package devmemtcp

import (
	"errors"
	"testing"
)

// kernelTokens is a socket that only knows tokens.
type kernelTokens struct {
	socket
	t     *testing.T
	known map[uint32]bool
	calls []int // fragments
	err   error
}

func (k *kernelTokens) DontNeed(ranges []tokenRange) (freed int, err error) {
	total := 0
	for _, r := range ranges {
		total += int(r.count)
		for i := range r.count {
			if k.known[r.start+i] {
				freed++
			}
			delete(k.known, r.start+i)
		}
	}
	if len(ranges) > maxRanges || total > maxFragments {
		k.t.Errorf("a call of %d ranges, %d fragments", len(ranges), total)
	}
	k.calls = append(k.calls, total)
	return freed, k.err
}

func giveBack(t *testing.T, given ...uint32) (*kernelTokens, error) {
	k := &kernelTokens{t: t, known: make(map[uint32]bool)}
	var back tokens
	for _, n := range given {
		k.known[n] = true
		back.add(n)
	}
	calls, err := back.giveBack(k)
	if calls != len(k.calls) {
		t.Errorf("%d calls, said %d", len(k.calls), calls)
	}
	return k, err
}

func TestTokensMerge(t *testing.T) {
	var back tokens
	for _, n := range []uint32{1, 2, 3, 7, 8, 6, 1 << 31, 0} {
		back.add(n)
	}
	want := []tokenRange{{start: 1, count: 3}, {start: 7, count: 2}, {start: 6, count: 1}, {start: 1 << 31, count: 1}, {start: 0, count: 1}}
	if len(back.ranges) != len(want) || back.count != 8 {
		t.Fatalf("%+v", back)
	}
	for i := range want {
		if back.ranges[i] != want[i] {
			t.Errorf("range %d: %+v, want %+v", i, back.ranges[i], want[i])
		}
	}
}

func TestTokensLimits(t *testing.T) {
	scattered, dense := make([]uint32, 300), make([]uint32, 0, 3000)
	for i := range scattered {
		scattered[i] = uint32(2 * i)
	}
	for i := uint32(0); i < 3000; i += 300 {
		for j := range uint32(299) {
			dense = append(dense, i+j)
		}
	}
	for what, given := range map[string][]uint32{"scattered": scattered, "dense": dense, "none": nil} {
		k, err := giveBack(t, given...)
		if err != nil || len(k.known) != 0 {
			t.Errorf("%s: %v, %d left, calls of %v", what, err, len(k.known), k.calls)
		}
	}
}

func TestTokensTwice(t *testing.T) {
	if _, err := giveBack(t, 1, 2, 2, 3); !errors.Is(err, errTokens) {
		t.Errorf("a token given back twice: %v", err)
	}
}
