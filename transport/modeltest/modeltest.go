// Package modeltest is for tests that drive something by the bytes of an input, as a
// fuzzer makes them or at random, and compare it with a model: what fails is made short.
//
// It knows nothing of what is driven.
package modeltest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// OpBytes is the length of an operation: what it does, and three more.
const OpBytes = 4

// Random returns n operations, the same ones for a seed.
func Random(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	ops := make([]byte, n*OpBytes)
	for i := range ops {
		ops[i] = byte(rnd.IntN(256))
	}
	return ops
}

// Describe returns a line for each operation, whose first byte is one of names, over and
// over.
func Describe(ops []byte, names []string) string {
	var b strings.Builder
	for op := range slices.Chunk(ops, OpBytes) {
		fmt.Fprintf(&b, "%s %d %d %d\n", names[int(op[0])%len(names)], op[1], op[2], op[3])
	}
	return b.String()
}

// Check tries random operations for each of the seeds from 0. try returns how they fail,
// or nothing.
func Check(t *testing.T, seeds uint64, n int, names []string, try func(ops []byte) string) {
	t.Helper()
	for seed := range seeds {
		ops := Random(seed, n)
		how := try(ops)
		if how == "" {
			continue
		}
		t.Logf("seed %d: %s", seed, how)
		ops = Shrink(ops, func(ops []byte) bool { return try(ops) != "" })
		t.Fatalf("seed %d, shrunk to %d operations: %s\n%s", seed, len(ops)/OpBytes, try(ops), Describe(ops, names))
	}
}

// Shrink leaves out of a failing input what it fails without, as long as there is
// something, and makes the bytes that are left small.
func Shrink(ops []byte, fails func([]byte) bool) []byte {
	for n := len(ops) / OpBytes / 2; n > 0; {
		shorter := false
		for at := 0; at+n*OpBytes <= len(ops); {
			if less := slices.Delete(slices.Clone(ops), at, at+n*OpBytes); fails(less) {
				ops, shorter = less, true
			} else {
				at += n * OpBytes
			}
		}
		if !shorter {
			n /= 2
		}
	}
	for i := range ops {
		for ops[i] > 0 {
			less := slices.Clone(ops)
			if less[i] /= 2; !fails(less) {
				break
			}
			ops = less
		}
	}
	return ops
}

// Trial is a test that is tried: it fails by a panic, which [Try] returns, and cleans up
// nothing.
type Trial struct{ testing.TB }

// flaw is how a test that is tried fails.
type flaw string

// Helper implements [testing.TB], as the others do.
func (Trial) Helper()                      {}
func (Trial) Cleanup(func())               {}
func (Trial) Failed() bool                 { return false }
func (Trial) Error(args ...any)            { panic(flaw(fmt.Sprint(args...))) }
func (Trial) Fatal(args ...any)            { panic(flaw(fmt.Sprint(args...))) }
func (Trial) Errorf(f string, args ...any) { panic(flaw(fmt.Sprintf(f, args...))) }
func (Trial) Fatalf(f string, args ...any) { panic(flaw(fmt.Sprintf(f, args...))) }

// Try returns how a Trial failed in run, or nothing.
func Try(run func()) (how string) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case flaw:
			how = string(r)
		default:
			panic(r)
		}
	}()
	run()
	return ""
}
