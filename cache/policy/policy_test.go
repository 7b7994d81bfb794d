package policy

import "testing"

// thing is what a test keeps.
type thing struct {
	key   uint64
	entry Entry[thing]
}

type pool struct {
	p Policy
	q Queue[thing]
}

func newPool(room int) *pool {
	l := new(pool)
	l.q.Init(&l.p)
	l.p.Resize(room)
	return l
}

// add brings a new thing, which is idle at once.
func (l *pool) add(key uint64, room bool) *thing {
	t := &thing{key: key}
	t.entry.Value = t
	l.q.Add(&t.entry, key)
	l.q.Idle(&t.entry, room)
	return t
}

func (l *pool) use(t *thing) {
	l.q.Hit(&t.entry)
	l.q.Busy(&t.entry)
	l.q.Idle(&t.entry, false)
}

// evict takes the victim out, and returns its key.
func (l *pool) evict() uint64 {
	v := l.q.Victim()
	l.q.Remove(v)
	return v.Value.key
}

// TestNewcomersGo: of things that are used equally often, those stay that were
// there first.
func TestNewcomersGo(t *testing.T) {
	l := newPool(64)
	for k := range uint64(64) {
		l.add(k, k < 63)
	}
	for k := uint64(64); k < 1000; k++ {
		if v := l.evict(); v < 62 {
			t.Fatalf("%d goes for %d", v, k)
		}
		l.add(k, false)
	}
	if l.q.Len() != 64 {
		t.Errorf("%d things", l.q.Len())
	}
}

// TestFrequentNewcomerStays: what was asked for three times, though never held for
// long, takes the place of what was used once.
func TestFrequentNewcomerStays(t *testing.T) {
	l := newPool(64)
	for k := range uint64(64) {
		l.add(k, k < 63)
	}
	const often = 1000
	for i := range lax {
		if v := l.evict(); i > 1 && v != often {
			t.Errorf("%d goes, before it was used %d times", v, lax)
		}
		l.add(often, false)
	}
	l.evict() // another, for it
	for k := uint64(2000); k < 2100; k++ {
		l.add(k, false)
		if l.evict() == often {
			t.Fatalf("it goes for %d", k)
		}
	}
}

func TestBusyStays(t *testing.T) {
	l := newPool(4)
	var all []*thing
	for k := range uint64(4) {
		all = append(all, l.add(k, true))
		l.q.Busy(&all[k].entry)
	}
	if v := l.q.Victim(); v != nil || l.q.Len() != 0 {
		t.Fatalf("victim %+v of %d", v, l.q.Len())
	}
	l.q.Idle(&all[2].entry, false)
	if got := l.evict(); got != 2 {
		t.Errorf("%d goes, want 2", got)
	}
	l.q.Remove(&all[2].entry) // again
	l.q.Remove(&all[3].entry) // while it is busy
	l.q.Idle(&all[0].entry, false)
	if got := l.evict(); got != 0 {
		t.Errorf("%d goes, want 0", got)
	}
}

// TestSmallStepsAreOneUse: who reads through something in many steps makes it no
// hotter.
func TestSmallStepsAreOneUse(t *testing.T) {
	l := newPool(1000)
	x := l.add(7, true)
	for k := range uint64(100) {
		l.add(100+k, true)
	}
	before := l.p.Now()
	for range 100 {
		l.use(x)
	}
	if l.p.Now() != before+1 || x.entry.laxly != 0 {
		t.Errorf("%d uses, three of them since %d", l.p.Now()-before, x.entry.laxly)
	}
}

// TestDead: what was unused for much longer than things stay away that come back is
// expected back no more.
func TestDead(t *testing.T) {
	l := newPool(100)
	var all []*thing
	for k := range uint64(100) {
		all = append(all, l.add(k, true))
	}
	for range 600 { // each comes back after 200 uses
		for _, x := range all[:50] {
			l.use(x)
		}
		for range 150 {
			l.p.tick()
		}
	}
	if last := l.p.Now() - 300; l.p.Dead(last) {
		t.Error("dead after 300 uses")
	}
	if last := l.p.Now() - 500; !l.p.Dead(last) {
		t.Error("not dead after 500 uses")
	}
}

// TestHistory: when things were missed is known for most of three times as many as
// there is room for, within a unit or two, also while there is made more room.
func TestHistory(t *testing.T) {
	var h history
	now := uint64(0)
	const things = 3000
	wrong := 0
	for round := range uint64(12) {
		h.fit(1000 << (round / 4))
		for k := range uint64(things) {
			now++
			laxly, strictly := h.miss(h.find(k, now), now)
			for n, got := range map[uint64]uint64{lax: laxly, strict: strictly} {
				want := now - min(now, (n-1)*things)
				if slack := uint64(2) << h.shift; got > want || got+slack < want {
					wrong++
				}
			}
		}
	}
	if wrong > 12*things/100 {
		t.Errorf("%d of %d times are wrong", wrong, 2*12*things)
	}
}

// TestRegret: where what gives way comes back, newcomers must have been used more.
func TestRegret(t *testing.T) {
	var r regret
	for range 1000 {
		r.gone(100)
	}
	if r.strictly(100) {
		t.Error("strict, though nothing came back")
	}
	for range 200 {
		r.gone(100)
		r.back++
	}
	if !r.strictly(100) {
		t.Errorf("not strict, though all came back: %+v", r)
	}
	for range 400 {
		r.gone(100)
	}
	if r.strictly(100) {
		t.Errorf("still strict: %+v", r)
	}
}

func TestNoAllocations(t *testing.T) {
	l := newPool(100)
	var all []*thing
	for k := range uint64(100) {
		all = append(all, l.add(k, k < 99))
	}
	k := uint64(100)
	if n := testing.AllocsPerRun(1000, func() {
		v := l.q.Victim()
		l.q.Remove(v)
		l.q.Add(v, k)
		l.q.Idle(v, false)
		l.use(all[k%100])
		k++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
