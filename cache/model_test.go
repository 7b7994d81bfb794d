package cache

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/modeltest"
)

// known is an extent that a model takes as given.
type known struct {
	span
	ready bool
	whole bool // what one of its file's blocks is
	e     *extent
}

// wanted is what a Fetch is to do: which parts it finds, and what it has brought.
type wanted struct {
	segs  []wantedSegment
	fills []span
	pins  []*extent // that it finds resident
	joins []*extent // that it finds under way
	next  int64
	fits  bool
	never bool // not if all else was let go either, but what is pinned for longer
}

type wantedSegment struct {
	span
	hit bool
}

// model says what a Fetch is to do, by looking at every extent of the pool for each
// byte's sake. It shares nothing with what the cache does but the sizes of slots.
type model struct {
	all    []known
	size   int64
	a      ask
	limit  int
	out    wanted
	frames []modelFrame
	free   int // frames
	pins   []*extent
}

type modelFrame struct {
	class *class
	held  int
}

func (g *rig) model(src *fakeSource, off, n int64, access Access, limit int, until time.Time) wanted {
	m := model{size: src.size, limit: limit}
	m.a = ask{off: off, end: max(off, min(off+n, src.size)), access: access}
	g.mu.Lock()
	defer g.mu.Unlock()
	var fs frames
	fs.init(testExtent, testExtent)
	m.free = g.frames
	if p := g.pools[alice]; p != nil && p.open && !p.isRevoked() {
		m.look(p, src)
	}
	m.cover(src.unsettled)
	m.fit(&fs)
	m.fitAlone(&fs, until)
	return m.out
}

// look takes in what is in the pool.
func (m *model) look(p *pool, src *fakeSource) {
	if f := p.files[src.key]; f != nil && !src.unsettled {
		for at := f.extents.first; at != nil; at = at.next {
			e := at.value
			n := e.req.Off / testExtent
			whole := e.span() == span{n * testExtent, min((n+1)*testExtent, src.size)}
			m.all = append(m.all, known{e.span(), e.state == resident, whole, e})
		}
	}
	// What is whole is preferred, then what is closest.
	slices.SortFunc(m.all, func(a, b known) int {
		return cmp.Or(cmp.Compare(b.from, a.from), cmp.Compare(b.to, a.to))
	})
	m.free = 0
	for i := range p.frames.all {
		f := &p.frames.all[i]
		held := 0
		for n := f.extents.first; n != nil; n = n.next {
			if n.value.leases > 0 || n.value.pin != nil || n.value.state != resident {
				held++
			}
			if n.value.pin != nil {
				m.pins = append(m.pins, n.value)
			}
		}
		m.frames = append(m.frames, modelFrame{f.class, held})
		if held == 0 {
			m.free++
		}
	}
}

func (m *model) cover(exact bool) {
	a := m.a
	long := a.end-a.off >= testExtent || a.access == Run
	at := a.off
	if a.end > a.off && a.end-a.off <= testExtent && m.found(span{a.off, a.end}) {
		at = a.end
	}
	for at < a.end {
		if len(m.out.segs) == m.limit {
			m.out.next = at
			return
		}
		s := span{at, a.end}
		if long {
			s.to = min(s.to, at-at%testExtent+testExtent)
		}
		at = m.part(s, a.access == Run && !exact)
	}
}

// found enters s as found in one extent, if it is in one.
func (m *model) found(s span) bool {
	var best *known
	better := func(k *known) bool {
		switch {
		case best == nil, k.ready != best.ready:
			return best == nil || k.ready
		}
		return k.whole
	}
	for i := range m.all {
		if k := &m.all[i]; k.contains(s) && better(k) {
			best = k
		}
	}
	if best == nil {
		return false
	}
	m.out.segs = append(m.out.segs, wantedSegment{s, best.ready})
	if best.ready {
		m.out.pins = append(m.out.pins, best.e)
	} else {
		m.out.joins = append(m.out.joins, best.e)
	}
	return true
}

// filling returns the first extent under way that has a part of s.
func (m *model) filling(s span) (first known, ok bool) {
	for _, k := range m.all {
		if !k.ready && k.overlaps(s) && (!ok || k.from < first.from) {
			first, ok = k, true
		}
	}
	return first, ok
}

func (m *model) part(s span, run bool) int64 {
	if m.found(s) {
		return s.to
	}
	if k, ok := m.filling(s); ok {
		if k.from <= s.from {
			s.to = min(s.to, k.to)
			m.out.segs = append(m.out.segs, wantedSegment{s, false})
			m.out.joins = append(m.out.joins, k.e)
			return s.to
		}
		if s.to = k.from; m.found(s) {
			return s.to
		}
	}
	fill := s
	if run { // byte by byte, as far as nothing is under way
		start := s.from - s.from%testExtent
		fill = span{start, min(start+testExtent, m.size)}
		for _, k := range m.all {
			switch {
			case k.ready:
			case k.to <= s.from:
				fill.from = max(fill.from, k.to)
			case k.from >= s.to:
				fill.to = min(fill.to, k.from)
			}
		}
	}
	m.out.segs = append(m.out.segs, wantedSegment{s, false})
	m.out.fills = append(m.out.fills, fill)
	return s.to
}

// fit counts the frames: those where something stays keep their class, the others
// can have any. What does not fit so may have room in larger slots all the same.
func (m *model) fit(fs *frames) {
	pinned := make(map[*extent]bool)
	for _, e := range m.out.pins {
		if e.leases > 0 || e.pin != nil || pinned[e] {
			continue
		}
		pinned[e] = true
		f := &m.frames[e.req.Dst.Off/testExtent]
		if f.held == 0 {
			m.free--
		}
		f.held++
	}
	m.out.fits = m.lacking(fs, m.frames, m.free) == 0
}

// fitAlone counts the frames as if nothing was held but what the Fetch finds, and what
// is pinned for longer than until.
func (m *model) fitAlone(fs *frames, until time.Time) {
	all := make([]modelFrame, len(m.frames))
	free := max(len(all), m.free)
	seen := make(map[*extent]bool)
	lasting := slices.DeleteFunc(m.pins, func(e *extent) bool {
		return until.IsZero() || !e.pin.until.IsZero() && !e.pin.until.After(until)
	})
	for _, e := range slices.Concat(m.out.pins, m.out.joins, lasting) {
		if seen[e] {
			continue
		}
		seen[e] = true
		f := &all[e.req.Dst.Off/testExtent]
		if f.held == 0 {
			f.class = e.frame.class
			free--
		}
		f.held++
	}
	m.out.never = m.lacking(fs, all, free) > 0
}

// lacking is how many frames more than the free ones what is to be brought takes.
func (m *model) lacking(fs *frames, all []modelFrame, free int) int {
	need := make(map[int64]int)
	for _, s := range m.out.fills {
		need[fs.classOf(s.to-s.from).size]++
	}
	for size, n := range need {
		slots := fs.classOf(size).slots
		for _, f := range all {
			if f.held > 0 && f.class.size == size {
				n -= slots - f.held
			}
		}
		for ; n > 0; n -= slots {
			free--
		}
	}
	return max(0, -free)
}

// TestAgainstModel: each of random operations does what the model says: what it
// finds, what it has brought, and whether it fits. What fails is made short.
func TestAgainstModel(t *testing.T) {
	modeltest.Check(t, 60, 150, opNames, func(ops []byte) string { return tryOps(t, ops) })
}

var errOther = errors.New("another outcome")

// compare returns what is other than the model has it.
func (w *wanted) compare(l *Lease) error {
	if len(l.Segments()) != len(w.segs) || l.Next() != w.next {
		return fmt.Errorf("%w: segments %+v, next %d; want %v", errOther, l.Segments(), l.Next(), *w)
	}
	for i, s := range l.Segments() {
		if got := (wantedSegment{span{s.FileOff, s.FileOff + s.Len}, s.Hit}); got != w.segs[i] {
			return fmt.Errorf("%w: segment %d is %v, want %v", errOther, i, got, w.segs[i])
		}
	}
	return nil
}

// brought compares the requests that a Fetch made.
func (w *wanted) brought(reqs []*transport.Request) error {
	var got []span
	for _, r := range reqs {
		got = append(got, span{r.Off, r.Off + r.Dst.Len})
	}
	if !slices.Equal(got, w.fills) {
		return fmt.Errorf("%w: fetches %v, want %v", errOther, got, w.fills)
	}
	return nil
}

var okResult = transport.Result{Path: uapi.PathStaged}
