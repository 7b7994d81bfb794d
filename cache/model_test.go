package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// model is the cache as one would explain it, for full extents whose transfers
// end at once: a set of leased ones and a queue of idle ones.
type model struct {
	frames int
	leased map[int64]int // how often, by file offset
	idle   []int64       // the next to be evicted first
}

// fetch returns which extents are hits, or false if the range does not fit.
func (m *model) fetch(offs []int64) (hits []bool, ok bool) {
	inUse := len(m.leased)
	for _, off := range offs {
		if m.leased[off] == 0 {
			inUse++
		}
	}
	if inUse > m.frames {
		return nil, false
	}
	for _, off := range offs {
		i := slices.Index(m.idle, off)
		hits = append(hits, i >= 0 || m.leased[off] > 0)
		if i >= 0 {
			m.idle = slices.Delete(m.idle, i, i+1)
		}
		m.leased[off]++
	}
	for len(m.leased)+len(m.idle) > m.frames {
		m.idle = m.idle[1:]
	}
	return hits, true
}

func (m *model) release(offs []int64) {
	for _, off := range offs {
		if m.leased[off]--; m.leased[off] == 0 {
			delete(m.leased, off)
			m.idle = append(m.idle, off)
		}
	}
}

// TestAgainstModel: hits, refusals and the order of eviction are the model's, for
// random fetches and releases.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { againstModel(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func againstModel(t *testing.T, rnd *rand.Rand) {
	const frames, extents = 6, 12
	g := newRig(t, frames)
	m := &model{frames: frames, leased: make(map[int64]int)}
	src := autoSource(3, extents*testExtent)
	type held struct {
		lease *Lease
		offs  []int64
	}
	var leases []held
	for range 500 {
		if len(leases) > 0 && rnd.IntN(2) == 0 {
			i := rnd.IntN(len(leases))
			g.check(leases[i].lease, src.key)
			leases[i].lease.Release()
			m.release(leases[i].offs)
			leases = slices.Delete(leases, i, i+1)
		} else {
			first, n := rnd.Int64N(extents), 1+rnd.Int64N(4)
			var offs []int64
			for i := first; i < min(first+n, extents); i++ {
				offs = append(offs, i*testExtent)
			}
			hits, fits := m.fetch(offs)
			l, err := g.Fetch(t.Context(), src, alice, first*testExtent, n*testExtent, 100)
			if fits != (err == nil) || err != nil && !errors.Is(err, ErrNoSpace) {
				t.Fatalf("extents %v: %v; the model says that they fit: %v", offs, err, fits)
			}
			if err == nil {
				for i, s := range l.Segments() {
					if s.Hit != hits[i] {
						t.Fatalf("extent at %d: hit %v, want %v", s.FileOff, s.Hit, hits[i])
					}
				}
				leases = append(leases, held{l, offs})
			}
		}
		var want []string
		for _, off := range m.idle {
			want = append(want, fmt.Sprintf("3@%d", off))
		}
		if got := g.lru(alice); !slices.Equal(got, want) {
			t.Fatalf("next to go are %v, want %v", got, want)
		}
		g.verify()
	}
	for _, h := range leases {
		h.lease.Release()
	}
}

// FuzzOperations drives fetches, transfers that end well, badly or late, and
// releases in the order that the input says, two bytes each. After each one
// nothing that is leased holds a wrong byte, and the invariants hold.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 3, 0, 3, 0, 6, 0, 0, 0})
	f.Add([]byte{0, 2, 1, 2, 5, 0, 0, 2, 3, 0, 7, 2, 6, 0})                   // cancel, join, forget
	f.Add([]byte{0, 7, 8, 0, 0, 7, 3, 1, 3, 0, 6, 0})                         // overdue, then again
	f.Add([]byte{2, 3, 2, 4, 2, 5, 2, 6, 3, 0, 3, 0, 3, 0, 3, 0, 0, 8, 1, 9}) // short files
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		ops := make([]byte, 400)
		for i := range ops {
			ops[i] = byte(rnd.IntN(256))
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 1000)]
		synctest.Test(t, func(t *testing.T) { newDriver(t).run(ops) })
	})
}

// driver does what the bytes of a fuzz input say.
type driver struct {
	*rig
	sources []*fakeSource
	pending []transfer
	asked   []asked
	held    []granted
}

type transfer struct {
	src *fakeSource
	req *transport.Request
}

type asked struct {
	key  FileKey
	out  <-chan outcome
	stop context.CancelFunc
}

type granted struct {
	key   FileKey
	lease *Lease
}

func newDriver(t *testing.T) *driver {
	d := &driver{rig: newRig(t, 4)}
	for i, size := range []int64{3 * testExtent, 2*testExtent + 5000, testExtent, 8192, 4096, 100, testExtent + 1, 6 * testExtent} {
		src := newSource(uint64(i+1), size)
		src.unsettled = i == 2 || i == 5
		d.sources = append(d.sources, src)
	}
	return d
}

func (d *driver) run(ops []byte) {
	for len(ops) >= 2 {
		d.step(ops[0]%10, int(ops[1]))
		d.collect()
		ops = ops[2:]
	}
	for _, a := range d.asked {
		a.stop()
	}
	d.collect()
	for len(d.pending) > 0 {
		d.end(0, transport.Result{})
	}
	for len(d.held) > 0 {
		d.release(0)
	}
	d.verify()
	if s := d.Stats(); s.Leases != 0 || s.PinnedBytes != 0 || s.Filling.Extents+s.Quarantined.Extents != 0 {
		d.t.Errorf("when all is over: %+v", s)
	}
}

func (d *driver) step(op byte, arg int) {
	switch {
	case op < 3:
		d.fetch(d.sources[arg%len(d.sources)], int64(arg/8%4)*5000, int64(op)*testExtent+1)
	case op < 5 && len(d.pending) > 0:
		d.end(arg%len(d.pending), transport.Result{Path: uapi.PathStaged})
	case op == 5 && len(d.asked) > 0:
		d.asked[arg%len(d.asked)].stop()
	case op == 6 && len(d.held) > 0:
		d.release(arg % len(d.held))
	case op == 7:
		d.Forget(d.sources[arg%len(d.sources)].key)
	case op == 8:
		time.Sleep(testTimeout / 2)
	case op == 9 && len(d.pending) > 0:
		d.end(arg%len(d.pending), transport.Result{Err: errBroken})
	}
}

func (d *driver) fetch(src *fakeSource, off, n int64) {
	ctx, stop := context.WithCancel(d.t.Context())
	d.asked = append(d.asked, asked{src.key, d.await(ctx, src, off, n), stop})
}

// end ends a transfer. Until then its memory may change at any time, so other
// bytes are written first: nobody may see them.
func (d *driver) end(i int, r transport.Result) {
	p := d.pending[i]
	d.pending = slices.Delete(d.pending, i, i+1)
	clear(p.req.Dst.Mem.Bytes()[p.req.Dst.Off:][:p.req.Dst.Len])
	d.bytes()
	if r.Err == nil {
		put(p.src.key, p.req)
	}
	transporttest.End(p.req, r)
}

func (d *driver) release(i int) {
	d.held[i].lease.Release()
	d.held = slices.Delete(d.held, i, i+1)
}

// collect takes in what has happened, and checks it.
func (d *driver) collect() {
	synctest.Wait()
	for _, src := range d.sources {
		for _, r := range src.take() {
			d.pending = append(d.pending, transfer{src, r})
		}
	}
	d.asked = slices.DeleteFunc(d.asked, func(a asked) bool {
		select {
		case o := <-a.out:
			a.stop()
			if o.err == nil {
				d.held = append(d.held, granted{a.key, o.lease})
			}
			return true
		default:
			return false
		}
	})
	d.verify()
	d.bytes()
}

func (d *driver) bytes() {
	for _, h := range d.held {
		d.check(h.lease, h.key)
	}
}
