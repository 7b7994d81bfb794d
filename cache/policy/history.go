package policy

// history is when things were missed, the latest times of each, as long as there is
// room. It may take one thing for another, seldom. Times are in units of a small part of what there is room for, so that
// they are small.
type history struct {
	buckets []bucket
	mask    uint64
	shift   uint // log2 of the unit
}

// bucket has things by a part of their key.
type bucket [8]past

// past is of one thing.
type past struct {
	mark   uint16             // of its key, and goneBit; 0 is no thing
	missed [strict - 1]uint16 // the latest first; 0 is never
}

const goneBit = 1 // it made room for a newcomer

// leastBuckets is for how many things there is an eighth of the room at first, and
// how many units there are while so many uses are counted.
const leastBuckets = 128

// mostBuckets bounds the memory of a history, to 40 MiB.
const mostBuckets = 1 << 19

// fit makes room for eight times n things, or as many as may be. It never shrinks.
func (h *history) fit(n int) {
	if h.buckets == nil {
		h.buckets, h.mask = make([]bucket, leastBuckets), leastBuckets-1
	}
	for len(h.buckets) < min(n, mostBuckets) {
		h.buckets = append(h.buckets, h.buckets...) // where its key leads now, or may
		h.mask = uint64(len(h.buckets) - 1)
		h.shift++
		for i := range h.buckets {
			h.buckets[i].coarsen()
		}
	}
}

// coarsen makes the unit of times twice as large.
func (b *bucket) coarsen() {
	for i := range b {
		for j := range b[i].missed {
			b[i].missed[j] /= 2
		}
	}
}

// find returns what is known of a thing, or the place of what was missed longest
// ago, made empty for it.
func (h *history) find(key, now uint64) *past {
	k := mix(key)
	b, mark := &h.buckets[k&h.mask], (uint16(k>>48)|2)&^goneBit
	time := h.time(now)
	oldest := &b[0]
	for i := range b {
		p := &b[i]
		if p.mark&^goneBit == mark {
			return p
		}
		if p.mark == 0 || time-p.missed[0] > time-oldest.missed[0] {
			oldest = p
		}
	}
	*oldest = past{mark: mark}
	return oldest
}

// miss notes that a thing is missed now, and returns when the earliest of its latest
// n misses was, for n of lax and of strict, by the clock; 0 if there were less, or too
// long ago.
func (h *history) miss(p *past, now uint64) (laxly, strictly uint64) {
	time := h.time(now)
	laxly, strictly = h.since(p.missed[lax-2], now), h.since(p.missed[strict-2], now)
	copy(p.missed[1:], p.missed[:])
	p.missed[0] = time
	return laxly, strictly
}

// since is a time by the clock, not later than it was, or 0.
func (h *history) since(missed uint16, now uint64) uint64 {
	if missed == 0 {
		return 0
	}
	return now - min(now, uint64(h.time(now)-missed+1)<<h.shift)
}

// time is a time in units, and never 0.
func (h *history) time(now uint64) uint16 { return max(1, uint16(now>>h.shift)) }

// mix spreads the bits of x (splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
