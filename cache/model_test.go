package cache

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"hbmfs/cache/index"
	"hbmfs/cache/slots"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/modeltest"
)

// known is an extent that a model takes as given.
type known struct {
	index.Span
	ready bool
	whole bool // what one of its file's blocks is
	e     *extent
}

// wanted is what a Fetch is to do: which parts it finds, and what it has brought.
type wanted struct {
	segs  []wantedSegment
	fills []index.Span
	pins  []*extent // that it finds resident
	joins []*extent // that it finds under way
	next  int64
	fits  bool
	never bool // not if all else was let go either, but what is pinned for longer
}

type wantedSegment struct {
	index.Span
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
	slot int64 // size of its slots
	held int
}

// fit is the size of slots for n bytes, and how many a frame has.
func fit(n int64) (size int64, per int) {
	var m slots.Memory
	m.Init(testExtent, testExtent, nil)
	return m.Fit(n)
}

func (g *rig) model(src *fakeSource, off, n int64, access Access, limit int, until time.Time) wanted {
	m := model{size: src.size, limit: limit}
	m.a = ask{off: off, end: max(off, min(off+n, src.size)), access: access}
	g.mu.Lock()
	defer g.mu.Unlock()
	m.free = g.frames
	if p := g.pools[alice]; p != nil && p.open && !p.isRevoked() {
		m.look(p, src)
	}
	m.cover(src.unsettled)
	m.fit()
	m.fitAlone(until)
	return m.out
}

// look takes in what is in the pool.
func (m *model) look(p *pool, src *fakeSource) {
	if f := p.files[src.key]; f != nil && !src.unsettled {
		for at := f.index.First(); at != nil; at = at.Next() {
			e := extentAt(at.Value)
			n := e.req.Off / testExtent
			whole := e.span() == index.Span{From: n * testExtent, To: min((n+1)*testExtent, src.size)}
			m.all = append(m.all, known{e.span(), e.state == resident, whole, e})
		}
	}
	// What is whole is preferred, then what is closest.
	slices.SortFunc(m.all, func(a, b known) int {
		return cmp.Or(cmp.Compare(b.From, a.From), cmp.Compare(b.To, a.To))
	})
	m.frames = make([]modelFrame, p.memory.Frames())
	for s := range p.memory.All() {
		f, e := &m.frames[s.Off()/testExtent], s.Tag.(*extent)
		f.slot = s.Size()
		if e.leases > 0 || e.pin != nil || e.state != resident {
			f.held++
		}
		if e.pin != nil {
			m.pins = append(m.pins, e)
		}
	}
	m.free = 0
	for _, f := range m.frames {
		if f.held == 0 {
			m.free++
		}
	}
}

func (m *model) cover(exact bool) {
	a := m.a
	long := a.end-a.off >= testExtent || a.access == Run
	at := a.off
	if a.end > a.off && a.end-a.off <= testExtent && m.found(index.Span{From: a.off, To: a.end}) {
		at = a.end
	}
	for at < a.end {
		if len(m.out.segs) == m.limit {
			m.out.next = at
			return
		}
		s := index.Span{From: at, To: a.end}
		if long {
			s.To = min(s.To, at-at%testExtent+testExtent)
		}
		at = m.part(s, a.access == Run && !exact)
	}
}

// found enters s as found in one extent, if it is in one.
func (m *model) found(s index.Span) bool {
	var best *known
	better := func(k *known) bool {
		switch {
		case best == nil, k.ready != best.ready:
			return best == nil || k.ready
		}
		return k.whole
	}
	for i := range m.all {
		if k := &m.all[i]; k.Contains(s) && better(k) {
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
func (m *model) filling(s index.Span) (first known, ok bool) {
	for _, k := range m.all {
		if !k.ready && k.Overlaps(s) && (!ok || k.From < first.From) {
			first, ok = k, true
		}
	}
	return first, ok
}

func (m *model) part(s index.Span, run bool) int64 {
	if m.found(s) {
		return s.To
	}
	if k, ok := m.filling(s); ok {
		if k.From <= s.From {
			s.To = min(s.To, k.To)
			m.out.segs = append(m.out.segs, wantedSegment{s, false})
			m.out.joins = append(m.out.joins, k.e)
			return s.To
		}
		if s.To = k.From; m.found(s) {
			return s.To
		}
	}
	fill := s
	if run { // byte by byte, as far as nothing is under way
		start := s.From - s.From%testExtent
		fill = index.Span{From: start, To: min(start+testExtent, m.size)}
		for _, k := range m.all {
			switch {
			case k.ready:
			case k.To <= s.From:
				fill.From = max(fill.From, k.To)
			case k.From >= s.To:
				fill.To = min(fill.To, k.From)
			}
		}
	}
	m.out.segs = append(m.out.segs, wantedSegment{s, false})
	m.out.fills = append(m.out.fills, fill)
	return s.To
}

// fit counts the frames: those where something stays keep their class, the others
// can have any. What does not fit so may have room in larger slots all the same.
func (m *model) fit() {
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
	m.out.fits = m.lacking(m.frames, m.free) == 0
}

// fitAlone counts the frames as if nothing was held but what the Fetch finds, and what
// is pinned for longer than until.
func (m *model) fitAlone(until time.Time) {
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
			f.slot = e.slot.Size()
			free--
		}
		f.held++
	}
	m.out.never = m.lacking(all, free) > 0
}

// lacking is how many frames more than the free ones what is to be brought takes.
func (m *model) lacking(all []modelFrame, free int) int {
	need := make(map[int64]int)
	for _, s := range m.out.fills {
		size, _ := fit(s.Len())
		need[size]++
	}
	for size, n := range need {
		_, per := fit(size)
		for _, f := range all {
			if f.held > 0 && f.slot == size {
				n -= per - f.held
			}
		}
		for ; n > 0; n -= per {
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
		if got := (wantedSegment{index.Span{From: s.FileOff, To: s.FileOff + s.Len}, s.Hit}); got != w.segs[i] {
			return fmt.Errorf("%w: segment %d is %v, want %v", errOther, i, got, w.segs[i])
		}
	}
	return nil
}

// brought compares the requests that a Fetch made.
func (w *wanted) brought(reqs []*transport.Request) error {
	var got []index.Span
	for _, r := range reqs {
		got = append(got, index.Span{From: r.Off, To: r.Off + r.Dst.Len})
	}
	if !slices.Equal(got, w.fills) {
		return fmt.Errorf("%w: fetches %v, want %v", errOther, got, w.fills)
	}
	return nil
}

var okResult = transport.Result{Path: uapi.PathStaged}
