package policy

// sketch estimates how often keys were used of late: a count-min sketch of four
// rows with counters of four bits. All are halved each time that ageing uses for
// each thing that is held were counted. An estimate may be too high.
type sketch struct {
	words []uint64 // sixteen counters each; four in a row of their own
	mask  uint64
	adds  int
	limit int // of adds
}

const (
	// perEntry is how many words there are, at least, for each thing held.
	perEntry = 2
	ageing   = 32
	least    = 64 // words
)

// fit makes the sketch large enough for n things. It never shrinks. Where it
// grows, each counter becomes those that its keys may have now.
func (s *sketch) fit(n int) {
	s.limit = ageing * max(n, least)
	if n*perEntry <= len(s.words) && s.words != nil {
		return
	}
	size := least
	for size < 2*n*perEntry {
		size *= 2
	}
	words := make([]uint64, size)
	for i := range words {
		if s.words != nil {
			words[i] = s.words[uint64(i)&s.mask]
		}
	}
	s.words, s.mask = words, uint64(size-1)
}

// spot is the word and the shift of a key's counter in a row.
func (s *sketch) spot(key uint64, row uint) (word uint64, shift uint) {
	h := mix(key + uint64(row)*0x9E3779B97F4A7C15)
	return h & s.mask, row*16 + uint(h>>62)*4
}

// add counts a use: only the lowest of the key's counters grow.
func (s *sketch) add(key uint64) {
	low := s.count(key)
	if low < 15 {
		for row := range uint(4) {
			word, shift := s.spot(key, row)
			if s.words[word]>>shift&15 == low {
				s.words[word] += 1 << shift
			}
		}
	}
	if s.adds++; s.adds >= s.limit {
		s.halve()
	}
}

// count is 0 to 15.
func (s *sketch) count(key uint64) uint64 {
	low := uint64(15)
	for row := range uint(4) {
		if s.words == nil {
			return 0
		}
		word, shift := s.spot(key, row)
		low = min(low, s.words[word]>>shift&15)
	}
	return low
}

func (s *sketch) halve() {
	for i, w := range s.words {
		s.words[i] = w >> 1 & 0x7777777777777777
	}
	s.adds = 0
}

// mix spreads the bits of x (splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
