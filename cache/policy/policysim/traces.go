package main

import (
	"math"
	"math/rand/v2"
	"sort"
)

// trace is what is accessed, in order; the first accesses only warm the pool.
type trace struct {
	name string
	keys []uint64
	warm int
}

// ratio is the part of the accesses after the warm ones that hit.
func (t trace) ratio(c cache) float64 {
	hits := 0
	for i, k := range t.keys {
		if c.access(k) && i >= t.warm {
			hits++
		}
	}
	return float64(hits) / float64(len(t.keys)-t.warm)
}

const epochs = 8

func traces(n int) []trace {
	rnd := rand.New(rand.NewPCG(1, 2))
	return []trace{
		{"shuffled epochs", shuffled(rnd, n, epochs, 0), n},
		{"sequential epochs", sequential(n, epochs), n},
		{"zipf, 0.9", zipf(rnd, n, epochs*n), n},
		{"a scan over a hot set of 5 %", scan(rnd, n, epochs*n), n},
		{"two jobs, each its order", interleave(shuffled(rnd, n, epochs, 0), shuffled(rnd, n, epochs, 0)), 2 * n},
		{"another data set, from its 4th epoch", append(shuffled(rnd, n, epochs, 0), shuffled(rnd, n, epochs, uint64(n))...), (epochs + 3) * n},
	}
}

func shuffled(rnd *rand.Rand, n, epochs int, from uint64) []uint64 {
	var keys []uint64
	for range epochs {
		for _, k := range rnd.Perm(n) {
			keys = append(keys, from+uint64(k))
		}
	}
	return keys
}

func sequential(n, epochs int) []uint64 {
	keys := make([]uint64, 0, n*epochs)
	for i := range n * epochs {
		keys = append(keys, uint64(i%n))
	}
	return keys
}

// zipf draws keys whose frequency falls with the 0.9th power of their rank.
func zipf(rnd *rand.Rand, n, accesses int) []uint64 {
	up := make([]float64, n)
	sum := 0.0
	for i := range up {
		sum += math.Pow(float64(i+1), -0.9)
		up[i] = sum
	}
	keys := make([]uint64, accesses)
	for i := range keys {
		keys[i] = uint64(sort.SearchFloat64s(up, rnd.Float64()*sum))
	}
	return keys
}

// scan has a hot set of one in twenty, of which every other access is, beside
// things that are accessed once.
func scan(rnd *rand.Rand, n, accesses int) []uint64 {
	keys := make([]uint64, accesses)
	for i := range keys {
		keys[i] = uint64(rnd.IntN(n / 20))
		if i%2 == 1 {
			keys[i] = uint64(n + i)
		}
	}
	return keys
}

func interleave(a, b []uint64) []uint64 {
	keys := make([]uint64, 0, 2*len(a))
	for i := range a {
		keys = append(keys, a[i], b[i])
	}
	return keys
}
