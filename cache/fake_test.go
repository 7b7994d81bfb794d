package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hbmfs/cache/device"
	"hbmfs/cache/index"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	alice = transport.Domain{UID: 1000}
	bob   = transport.Domain{UID: 1001}
)

// fakeRegion is a region in ordinary memory that the test can revoke.
type fakeRegion struct {
	transporttest.Mapped
	dom     transport.Domain
	revoked chan struct{}
	closed  atomic.Int32

	mu       sync.Mutex
	prepared []int64 // offsets
}

func (r *fakeRegion) Domain() transport.Domain { return r.dom }
func (r *fakeRegion) Revoked() <-chan struct{} { return r.revoked }
func (r *fakeRegion) Revoke()                  { close(r.revoked) }
func (r *fakeRegion) FD() int                  { return -1 }
func (r *fakeRegion) Close() error             { r.closed.Add(1); return nil }

func (r *fakeRegion) Prepare(off, _ int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prepared = append(r.prepared, off)
}

// fakeProvider makes fakeRegions, or fails.
type fakeProvider struct {
	mu      sync.Mutex
	regions []*fakeRegion
	err     error
}

func (p *fakeProvider) Name() string { return "fake" }
func (p *fakeProvider) CPU() bool    { return true }

func (p *fakeProvider) Alloc(dom transport.Domain, size int64) (device.Region, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	r := &fakeRegion{Mapped: make([]byte, size), dom: dom, revoked: make(chan struct{})}
	p.regions = append(p.regions, r)
	return r, nil
}

// word is what a file holds at byte offset off, a multiple of 8: it tells the
// version, the file and the offset.
func word(key FileKey, off int64) uint64 {
	return uint64(key.Version[0])<<56 | key.Ino&0xffff<<40 | uint64(off)
}

// contents is bytes [off, off+n) of a file.
func contents(key FileKey, off, n int64) []byte {
	b := make([]byte, 0, n+16)
	for at := off &^ 7; at < off+n; at += 8 {
		b = binary.LittleEndian.AppendUint64(b, word(key, at))
	}
	return b[off&7:][:n]
}

// put writes what a transfer brings, without allocating.
func put(key FileKey, r *transport.Request) {
	dst := r.Dst.Mem.Bytes()[r.Dst.Off:][:r.Dst.Len]
	for off := r.Off; len(dst) > 0; off = off&^7 + 8 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], word(key, off&^7))
		dst = dst[copy(dst, w[off&7:]):]
	}
}

// fakeSource is a remote file whose transfers the test ends. With auto set, they
// end before Submit returns.
type fakeSource struct {
	key       FileKey
	size      int64
	unsettled bool
	auto      bool
	path      uapi.Path

	mu      sync.Mutex
	pending []*transport.Request
	batches []int
}

func newSource(ino uint64, size int64) *fakeSource {
	key := FileKey{Dataset: 2, Ino: ino}
	key.Version[0] = 0xA5
	return &fakeSource{key: key, size: size, path: uapi.PathStaged}
}

func autoSource(ino uint64, size int64) *fakeSource {
	s := newSource(ino, size)
	s.auto = true
	return s
}

func (s *fakeSource) Key() FileKey  { return s.key }
func (s *fakeSource) Size() int64   { return s.size }
func (s *fakeSource) Settled() bool { return !s.unsettled }

func (s *fakeSource) Submit(reqs []*transport.Request) {
	if s.auto {
		for _, r := range reqs {
			s.succeed(r)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, len(reqs))
	s.pending = append(s.pending, reqs...)
}

func (s *fakeSource) succeed(r *transport.Request) {
	put(s.key, r)
	transporttest.End(r, transport.Result{Path: s.path, Why: uapi.WhyNoDirect})
}

// take returns what was submitted since, and not ended.
func (s *fakeSource) take() []*transport.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	reqs := s.pending
	s.pending = nil
	return reqs
}

// complete ends all pending transfers well.
func (s *fakeSource) complete() {
	for _, r := range s.take() {
		s.succeed(r)
	}
}

// fail ends all pending transfers with err.
func (s *fakeSource) fail(err error) {
	for _, r := range s.take() {
		transporttest.End(r, transport.Result{Err: err})
	}
}

// rig is a cache under test.
type rig struct {
	*Cache
	t        testing.TB
	provider *fakeProvider
	frames   int
}

const (
	testExtent  = 16 << 10
	testTimeout = time.Minute
)

// newRig makes a cache whose pools have that many frames. It is closed, and its
// invariants checked, when the test ends.
func newRig(t testing.TB, frames int64, change ...func(*Config)) *rig {
	t.Helper()
	p := &fakeProvider{}
	cfg := Config{Devices: []Device{{p, frames * testExtent}}, Extent: testExtent, Timeout: testTimeout}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{c, t, p, int(frames)}
	t.Cleanup(func() {
		g.verify()
		if t.Failed() {
			return // Close would wait for the transfers that the test left
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// run is Fetch of whole blocks.
func (g *rig) run(ctx context.Context, src Source, dom transport.Domain, off, n int64, limit int) (*Lease, error) {
	return g.Fetch(ctx, src, dom, off, n, Run, limit)
}

// get fetches a range for alice, and checks the bytes.
func (g *rig) get(src *fakeSource, off, n int64) *Lease {
	g.t.Helper()
	l, err := g.run(context.Background(), src, alice, off, n, 1000)
	if err != nil {
		g.t.Fatalf("fetch [%d, +%d) of file %d: %v", off, n, src.key.Ino, err)
	}
	g.check(l, src.key)
	return l
}

// touch makes a range resident and the most recently leased.
func (g *rig) touch(src *fakeSource, off, n int64) {
	g.t.Helper()
	g.get(src, off, n).Release()
}

// find returns the region of that id. The test sees to it that it stays open.
func (g *rig) find(id uint32) (r device.Region, ok bool) {
	ok = g.Region(id, func(found device.Region) { r = found })
	return r, ok
}

// check compares what a lease pins with what the file holds, and that the
// segments cover its range without a gap.
func (g *rig) check(l *Lease, key FileKey) {
	g.t.Helper()
	at := l.ask.off
	for _, s := range l.Segments() {
		r, ok := g.find(s.Region)
		if !ok {
			g.t.Fatalf("no region %d", s.Region)
		}
		if s.FileOff != at || s.Len <= 0 {
			g.t.Fatalf("segment %+v begins elsewhere than at %d", s, at)
		}
		at += s.Len
		if got := r.Bytes()[s.RegionOff:][:s.Len]; !slices.Equal(got, contents(key, s.FileOff, s.Len)) {
			g.t.Fatalf("segment %+v of file %d version %#x holds other bytes: first word %#x", s, key.Ino, key.Version[0], binary.LittleEndian.Uint64(append(got, make([]byte, 8)...)))
		}
	}
	if at != l.ask.off+l.Covered() {
		g.t.Fatalf("segments end at %d, Covered is %d from %d", at, l.Covered(), l.ask.off)
	}
}

// await starts a Fetch for alice in a synctest bubble and returns where its
// outcome will be. It is waiting, or over, when await returns.
func (g *rig) await(ctx context.Context, src Source, off, n int64) <-chan outcome {
	out := make(chan outcome, 1)
	go func() {
		l, err := g.run(ctx, src, alice, off, n, 1000)
		out <- outcome{l, err}
	}()
	synctest.Wait()
	return out
}

// waiting fails the test if a Fetch is over.
func (g *rig) waiting(out <-chan outcome) {
	g.t.Helper()
	select {
	case o := <-out:
		g.t.Fatalf("the fetch is over: %v", o.err)
	default:
	}
}

type outcome struct {
	lease *Lease
	err   error
}

// resident lists the files' extents that are in a domain's table, with the frame
// and slot each is in, in an order that does not depend on the map's.
func (g *rig) resident(dom transport.Domain) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	if p := g.pools[dom]; p != nil {
		for _, f := range p.files {
			for n := f.index.First(); n != nil; n = n.Next() {
				e := extentAt(n.Value)
				all = append(all, fmt.Sprintf("%d@%d+%d in %d, leases %d", f.key.Ino, e.req.Off, e.req.Dst.Len, e.req.Dst.Off, e.leases))
			}
		}
	}
	slices.Sort(all)
	return all
}

// lru lists the idle frames' first extents, the next to be evicted first.
func (g *rig) lru(dom transport.Domain) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	p := g.pools[dom]
	if p == nil {
		return nil
	}
	for s := range p.memory.Idle() {
		e := s.Tag.(*extent)
		all = append(all, fmt.Sprintf("%d@%d", e.file.key.Ino, e.req.Off))
	}
	return all
}

// has reports whether a range's first extent would be a hit.
func (g *rig) has(src *fakeSource, off int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.pools[alice]
	if p == nil {
		return false
	}
	f := p.files[src.key]
	if f == nil {
		return false
	}
	e := f.find(index.Span{From: off, To: off + 1})
	return e != nil && e.state == resident
}

var errBroken = errors.New("fake source is broken")

// Pin is the cache's, for a time.
func (g *rig) Pin(ctx context.Context, src PinSource, dom transport.Domain, off, n int64, d time.Duration) (pinned, next int64, err error) {
	p, err := g.Cache.Pin(ctx, src, dom, off, n, PinOptions{For: d})
	return p.Bytes, p.Next, err
}

func (g *rig) unpin(uid uint32, key FileKey, off, n int64) int64 {
	return g.dropped(g.Unpin(context.Background(), uid, key, off, n))
}

func (g *rig) unpinAll(uid uint32) int64 { return g.dropped(g.UnpinAll(context.Background(), uid)) }

func (g *rig) drop(uid uint32, key FileKey, off, n int64) int64 {
	return g.dropped(g.Evict(context.Background(), uid, key, off, n))
}

func (g *rig) dropped(bytes int64, err error) int64 {
	g.t.Helper()
	if err != nil {
		g.t.Error(err)
	}
	return bytes
}
