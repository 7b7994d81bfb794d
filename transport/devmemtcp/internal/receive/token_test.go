package receive

import (
	"errors"
	"testing"
)

// kernelTokens is a socket that only knows tokens.
type kernelTokens struct {
	Socket
	t     *testing.T
	known map[uint32]bool
	calls []int // fragments
	err   error
}

func (k *kernelTokens) DontNeed(ranges []TokenRange) (freed int, err error) {
	total := 0
	for _, r := range ranges {
		total += int(r.Count)
		for i := range r.Count {
			if k.known[r.Start+i] {
				freed++
			}
			delete(k.known, r.Start+i)
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
	var back Tokens
	for _, n := range given {
		k.known[n] = true
		back.Add(n)
	}
	calls, err := back.giveBack(k)
	if calls != len(k.calls) {
		t.Errorf("%d calls, said %d", len(k.calls), calls)
	}
	return k, err
}

func TestTokensMerge(t *testing.T) {
	var back Tokens
	for _, n := range []uint32{1, 2, 3, 7, 8, 6, 1 << 31, 0} {
		back.Add(n)
	}
	want := []TokenRange{{Start: 1, Count: 3}, {Start: 7, Count: 2}, {Start: 6, Count: 1}, {Start: 1 << 31, Count: 1}, {Start: 0, Count: 1}}
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
	if _, err := giveBack(t, 1, 2, 2, 3); !errors.Is(err, ErrTokens) {
		t.Errorf("a token given back twice: %v", err)
	}
}
