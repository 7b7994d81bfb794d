package cache

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/cache/index"
	"hbmfs/transport"
	"hbmfs/transport/modeltest"
	"hbmfs/transport/transporttest"
)

var opNames = []string{"fetch", "fetch", "fetch", "end", "end", "end", "stop", "release", "release", "forget", "later", "fail", "revoke", "wait", "wait", "pin", "pin", "unpin", "evict"}

// tryOps returns how the operations fail, or nothing.
func tryOps(t *testing.T, ops []byte) (how string) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(modeltest.Trial{TB: t})
		defer func() {
			if how != "" {
				d.abandon()
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}()
		how = modeltest.Try(func() { d.run(ops) })
	})
	return how
}

// FuzzOperations drives fetches, transfers that end well, badly or late, and
// releases in the order that the input says. After each one nothing that is leased
// holds a wrong byte, and the invariants hold.
func FuzzOperations(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(modeltest.Random(seed, 200))
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 2000)]
		synctest.Test(t, func(t *testing.T) {
			d := newDriver(t)
			d.run(ops)
			if t.Failed() {
				d.abandon()
			}
		})
	})
}

// driver does what the bytes of an input say.
type driver struct {
	*rig
	sources []*fakeSource
	pending []transfer
	asked   []asked
	queue   []*line // in order of arrival

	wasShared bool // others than the first of queue may have had room in the last step
	known     int  // of pending, those that were there before it
	held      []granted
	files     []*fakePinned // of sources
	pinning   []*pinAsked
	pins      map[*extent]pinned
}

type transfer struct {
	src *fakeSource
	req *transport.Request
}

type asked struct {
	key  FileKey
	want wanted
	out  <-chan outcome
	stop context.CancelFunc
	line *line // nil: it did not wait for room
}

type granted struct {
	key   FileKey
	lease *Lease
}

func newDriver(t testing.TB) *driver {
	d := &driver{rig: newRig(t, 5)}
	for i, size := range []int64{3 * testExtent, 2*testExtent + 5000, testExtent, 8192, 4096, 100, testExtent + 1, 6 * testExtent} {
		src := newSource(uint64(i+1), size)
		src.unsettled = i == 2 || i == 5
		d.sources = append(d.sources, src)
		d.files = append(d.files, &fakePinned{fakeSource: src})
	}
	return d
}

func (d *driver) run(ops []byte) {
	for ; len(ops) >= modeltest.OpBytes; ops = ops[modeltest.OpBytes:] {
		d.step(opNames[int(ops[0])%len(opNames)], int(ops[1]), int64(ops[2]), int64(ops[3]))
		d.collect()
	}
	for _, a := range d.asked {
		a.stop()
	}
	for _, a := range d.pinning {
		a.stop()
	}
	d.collect()
	for len(d.pending) > 0 {
		d.end(0, transport.Result{})
	}
	d.unpinAll(alice.UID)
	synctest.Wait()
	for _, f := range d.files {
		if n := f.holds(); n != 0 {
			d.t.Errorf("file %d is kept open %d times", f.key.Ino, n)
		}
	}
	for len(d.held) > 0 {
		d.release(0)
	}
	d.verify()
	if s := d.Stats(); d.Pins().Extents != 0 || s.Leases != 0 || s.LeasedBytes != 0 || s.Filling.Extents+s.Quarantined.Extents != 0 {
		d.t.Errorf("when all is over: %+v", s)
	}
}

// abandon ends what is under way, so that the cache can be closed.
func (d *driver) abandon() {
	for _, a := range d.asked {
		a.stop()
	}
	for _, a := range d.pinning {
		a.stop()
	}
	synctest.Wait()
	for _, p := range d.pending {
		transporttest.End(p.req, okResult)
	}
	for _, src := range d.sources {
		src.complete()
	}
}

// lengths are of the ranges that are fetched: samples, and more than an extent.
var lengths = []int64{1, 100, 512, 513, 2000, 5000, 5000, testExtent / 2, testExtent - 1, testExtent, testExtent + 1, 2*testExtent + 100, 5 * testExtent}

func (d *driver) step(op string, arg int, a, b int64) {
	d.wasShared, d.known = d.shared() || op == "later", len(d.pending)
	switch {
	case op == "fetch", op == "wait":
		src := d.sources[arg%len(d.sources)]
		off := a * src.size / 256
		if b&1 == 0 { // samples that come again
			off -= off % 5000
		}
		limit := 100
		if arg >= 224 {
			limit = 2
		}
		r := ranged{src, off, lengths[b/2%int64(len(lengths))], Access(arg / 8 % 3 / 2), limit}
		if op == "fetch" {
			d.fetch(r, 0)
		} else {
			d.fetch(r, time.Duration(1+b%3)*testTimeout/4)
		}
	case op == "end" && len(d.pending) > 0:
		d.end(arg%len(d.pending), okResult)
	case op == "stop" && len(d.asked) > 0:
		d.asked[arg%len(d.asked)].stop()
	case op == "release" && len(d.held) > 0:
		d.release(arg % len(d.held))
	case op == "forget" && a < 64:
		key := d.sources[arg%len(d.sources)].key
		d.Forget(key)
		d.unpinned(&key)
	case op == "later" && a < 64:
		time.Sleep(testTimeout / 2)
	case op == "later" && a < 128:
		time.Sleep(headStart / 2)
	case op == "fail" && len(d.pending) > 0:
		d.end(arg%len(d.pending), transport.Result{Err: errBroken})
	case op == "revoke" && a < 16:
		d.revoke()
		d.unpinned(nil)
	case op == "pin" || op == "unpin" || op == "evict":
		d.stepPin(op, d.files[arg%len(d.files)], a, b)
	}
}

func (d *driver) revoke() {
	d.provider.mu.Lock()
	defer d.provider.mu.Unlock()
	if n := len(d.provider.regions); n > 0 && n < 4 {
		if r := d.provider.regions[n-1]; !isClosed(r.revoked) {
			close(r.revoked)
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// fetch asks for a range, and checks what that makes the cache fetch.
func (d *driver) fetch(r ranged, wait time.Duration) {
	src := r.src
	var until time.Time
	if wait > 0 {
		until = time.Now().Add(wait)
	}
	want := d.expect(r, until)
	ctx, stop := context.WithCancel(d.t.Context())
	out := make(chan outcome, 1)
	regions, before := len(d.provider.regions), d.snapshot()
	go func() {
		l, err := d.FetchWithin(ctx, wait, src, alice, r.off, r.n, r.access, r.limit)
		out <- outcome{l, err}
	}()
	synctest.Wait()
	a := asked{src.key, want, out, stop, nil}
	behind := !d.wasShared && len(want.fills) > 0
	switch {
	case behind && len(src.pending) > 0:
		d.t.Fatalf("[%d, +%d) of %d overtakes %d that wait", r.off, r.n, src.size, len(d.queue))
	case !behind && (want.fits || len(src.pending) > 0):
		reqs := slices.Clone(src.pending)
		if len(d.queue) > 0 { // one who waits may need less now, and bring that
			reqs = slices.DeleteFunc(reqs, func(r *transport.Request) bool {
				return !slices.Contains(want.fills, index.Span{From: r.Off, To: r.Off + r.Dst.Len})
			})
		}
		if err := want.brought(reqs); err != nil {
			d.t.Fatalf("[%d, +%d) of %d: %v", r.off, r.n, src.size, err)
		}
	case wait == 0, want.never && (!behind || len(out) > 0): // who is behind may find larger slots when it is first
		d.refused(<-out, before, regions)
		stop()
		return
	default:
		a.line = d.lineUp(r, wait)
	}
	d.asked = append(d.asked, a)
}

func (d *driver) refused(o outcome, before string, regions int) {
	if !errors.Is(o.err, ErrNoSpace) {
		d.t.Fatalf("%v, want no space", o.err)
	}
	if after := d.snapshot(); after != before && regions == len(d.provider.regions) {
		d.t.Fatalf("no space changed the pool:\n%s\n%s", before, after)
	}
}

// end ends a transfer. Until then its memory may change at any time, so other
// bytes are written first: nobody may see them.
func (d *driver) end(i int, r transport.Result) {
	p := d.pending[i]
	d.pending = slices.Delete(d.pending, i, i+1)
	d.known = len(d.pending)
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
			if a.line != nil {
				a.line.out = &o
			}
			d.over(a, o)
			return true
		default:
			return false
		}
	})
	d.collectPins()
	d.advance()
	d.verify()
	d.bytes()
}

// stepPin is a step that has to do with pins.
func (d *driver) stepPin(op string, src *fakePinned, a, b int64) {
	off, n := a*src.size/256, lengths[b/4%int64(len(lengths))]
	if b&3 == 0 {
		off -= off % 5000
	}
	switch op {
	case "pin":
		d.pin(src, off, n, int(b&3))
	case "unpin":
		d.unpin(src.key, off, n)
	default:
		d.evicts(src, off, n)
	}
}

func (d *driver) over(a asked, o outcome) {
	if o.err != nil {
		never := errors.Is(o.err, errTooLarge) && a.line != nil && d.expect(a.line.ranged, a.line.until).never
		if errors.Is(o.err, ErrNoSpace) && !never && (a.line == nil || time.Now().Before(a.line.until)) {
			d.t.Fatalf("%v, though there is room", o.err)
		}
		return
	}
	d.held = append(d.held, granted{a.key, o.lease})
	if a.line != nil {
		return // what it was to find may have changed since
	}
	if err := a.want.compare(o.lease); err != nil {
		d.t.Fatal(err)
	}
}

// bytes checks all that is leased, but where the region was taken away.
func (d *driver) bytes() {
	for _, h := range d.held {
		if h.lease.Err() == nil {
			d.check(h.lease, h.key)
		}
	}
}
