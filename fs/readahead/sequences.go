package readahead

// sequences are the spans that were read without a gap, the latest first. The
// kernel's asynchronous READs come in any order, so there are several until the
// one between them comes.
type sequences struct {
	all [8]sequence
	n   int
}

// sequence is a span that was read, in at least one READ.
type sequence struct {
	from, end int64
	forward   int // how many more READs followed another than preceded one
}

// add notes a READ, and returns the sequence that it belongs to.
func (q *sequences) add(off, end int64) sequence {
	got := sequence{from: off, end: end}
	var others sequences
	follows, precedes := false, false
	for _, o := range q.all[:q.n] {
		switch {
		case off < o.end && o.from < end: // read once more, from here on
		case o.end == off:
			got.from, follows = o.from, true
			got.forward += o.forward
		case o.from == end:
			got.end, precedes = o.end, true
			got.forward += o.forward
		default:
			others.all[others.n] = o
			others.n++
		}
	}
	switch {
	case follows:
		got.forward++
	case precedes:
		got.forward--
	}
	q.all[0] = got
	q.n = 1 + copy(q.all[1:], others.all[:others.n])
	return got
}

// has reports whether a part of a span was read.
func (q *sequences) has(off, end int64) bool {
	for _, o := range q.all[:q.n] {
		if off < o.end && o.from < end {
			return true
		}
	}
	return false
}

// ahead returns how many bytes are to be read beyond the sequence: as many as it
// has if it began with the file, and a quarter if not, where it may be one of many
// records.
func (r sequence) ahead() int64 {
	n := r.end - r.from
	switch {
	case r.forward < 1:
		return 0
	case r.from > 0:
		n /= 4
	}
	return min(n, maxAhead)
}
