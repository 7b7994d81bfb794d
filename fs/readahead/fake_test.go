package readahead

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// fakeFile is a [File] whose bytes tell where they are from.
type fakeFile struct {
	size  int64
	stale atomic.Bool
	hold  atomic.Int64                // reads from there on wait for heal, or their context
	heal  chan struct{}               // closed to end that
	fails func(off int64) error       // nil for never
	reads atomic.Int64                // how many there were
	asked atomic.Int64                // their bytes
	lent  atomic.Int64                // buffers that were not released
	ahead atomic.Int64                // calls of VouchAhead
	vouch func(context.Context) error // nil for what stale says
}

func newFake(size int64) *fakeFile {
	f := &fakeFile{size: size, heal: make(chan struct{})}
	f.hold.Store(size)
	return f
}

func (f *fakeFile) Size() int64              { return f.size }
func (f *fakeFile) VouchAhead(remote.Moment) { f.ahead.Add(1) }
func (f *fakeFile) VouchSoon(ctx context.Context, _ remote.Moment) error {
	switch {
	case f.vouch != nil:
		return f.vouch(ctx)
	case f.stale.Load():
		return transport.ErrStale
	}
	return nil
}

func (f *fakeFile) Read(ctx context.Context, off int64, n int) (transport.Buffer, error) {
	f.reads.Add(1)
	f.asked.Add(int64(n))
	if off >= f.hold.Load() {
		select {
		case <-f.heal:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if f.stale.Load() {
		return nil, transport.ErrStale
	}
	if f.fails != nil {
		if err := f.fails(off); err != nil {
			return nil, err
		}
	}
	f.lent.Add(1)
	b := fakes.Get().(*fakeBuffer)
	b.f, b.b = f, b.b[:min(int64(n), max(f.size-off, 0))]
	copy(b.b, tagged(off))
	return b, nil
}

// period is after how many bytes a file has the same again: no READ and no chunk
// begins where another has.
const period = mib + 4099

var pattern = func() (b [2 * period]byte) {
	rand.NewChaCha8([32]byte{1}).Read(b[:period])
	copy(b[period:], b[:period])
	return b
}()

// tagged is what every file has at off, a MiB of it and more.
func tagged(off int64) []byte { return pattern[off%period:][:period] }

var fakes = sync.Pool{New: func() any { return &fakeBuffer{b: make([]byte, mib)} }}

type fakeBuffer struct {
	f *fakeFile
	b []byte
}

func (b *fakeBuffer) Bytes() []byte { return b.b }

func (b *fakeBuffer) Release() {
	b.f.lent.Add(-1)
	clear(b.b) // so that who still reads it sees
	fakes.Put(b)
}

// rig is a budget of some bytes, and its clock.
type rig struct {
	*Budget
	clock atomic.Int64
}

func newRig(all, each int64) *rig {
	r := new(rig)
	r.Budget = NewBudget(limits.New(limits.Config{What: "bytes", All: all, Each: each}), func() remote.Moment { return remote.Moment(r.clock.Load()) })
	r.clock.Store(int64(time.Hour))
	return r
}

// open is a stream of a settled file, which the test closes: nothing is left then.
func (r *rig) open(t *testing.T, user string, f *fakeFile) *Stream {
	s := new(Stream)
	s.Init(r.Budget, user, f, true)
	t.Cleanup(func() {
		if s.alive.Load() > 0 {
			s.Close()
		}
		if f.lent.Load() != 0 || s.alive.Load() != 0 {
			t.Errorf("%d buffers and %d references are left", f.lent.Load(), s.alive.Load())
		}
		if used := r.limit.Used(); used != 0 && len(r.streams) == 0 {
			t.Errorf("%d bytes are in use by nobody", used)
		}
	})
	return s
}

// read reads and checks what comes.
func read(t *testing.T, s *Stream, off, n int64) {
	t.Helper()
	var got Bytes
	if err := s.Read(t.Context(), off, int(n), &got); err != nil {
		t.Fatalf("%d bytes at %d: %v", n, off, err)
	}
	check(t, s, &got, off, n)
	got.Release()
}

func check(t *testing.T, s *Stream, got *Bytes, off, n int64) {
	t.Helper()
	if want := min(n, s.file.Size()-off); int64(got.Len()) != want {
		t.Fatalf("%d bytes at %d, want %d", got.Len(), off, want)
	}
	for _, p := range got.Pieces() {
		if !bytes.Equal(p, tagged(off)[:len(p)]) {
			t.Fatalf("wrong bytes at %d", off)
		}
		off += int64(len(p))
	}
}

// stream reads the next n MiB of a file, one by one.
func stream(t *testing.T, s *Stream, from, n int64) {
	t.Helper()
	for i := range n {
		read(t, s, from+i*mib, mib)
	}
}
