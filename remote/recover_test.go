package remote_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/tcp"
	"hbmfs/transport/transporttest"
)

func listenAnywhere(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// load reads files at random, in both ways, until stop: every result is right,
// or one of the errors that allowed says.
type load struct {
	t       *testing.T
	stop    chan struct{}
	readers sync.WaitGroup
	good    atomic.Int64
	failed  atomic.Int64
}

func startLoad(t *testing.T, r *remote.Target, files []*remote.File, allowed func(error) bool) *load {
	t.Helper()
	l := &load{t: t, stop: make(chan struct{})}
	for reader := range 4 {
		mem := newRegion(64 << 10)
		if err := r.Attach(t.Context(), mem); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(7, uint64(reader)))
		l.readers.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				err := l.one(files, mem, rng)
				switch {
				case err == nil:
					l.good.Add(1)
				case allowed(err):
					l.failed.Add(1)
				default:
					l.t.Errorf("%v", err)
					return
				}
			}
		})
	}
	return l
}

func (l *load) one(files []*remote.File, mem *region, rng *rand.Rand) error {
	i := rng.IntN(len(files))
	n := 1 + rng.IntN(len(mem.Mapped))
	off := rng.Int64N(int64(fileSize - n))
	if rng.IntN(2) == 0 {
		return read(context.Background(), files[i], uint64(i+1), 1, off, n)
	}
	transporttest.Scribble(mem.Mapped)
	if err := fetch(files[i], mem, off, 0, n); err != nil {
		return err
	}
	return transporttest.Check(mem.Mapped[:n], tag(uint64(i+1), 1), off)
}

// more waits until n more reads have succeeded.
func (l *load) more(n int64) {
	l.t.Helper()
	want := l.good.Load() + n
	until(l.t, "reads go on", func() bool { return l.good.Load() >= want || l.t.Failed() })
}

func (l *load) end() {
	close(l.stop)
	l.readers.Wait()
}

// TestKilledTargetComesBack kills the target under load, more than once. With a
// time-out longer than its absence no read fails.
func TestKilledTargetComesBack(t *testing.T) {
	n, r := mount(t, 3)
	files := []*remote.File{open(t, r, 1), open(t, r, 2), open(t, r, 3)}
	l := startLoad(t, r, files, func(error) bool { return false })
	for range 3 {
		l.more(200)
		n.kill()
		n.start()
	}
	l.more(200)
	l.end()
	s := r.Stats()
	if s.Sessions < 4 || s.Errors != 0 {
		t.Errorf("%+v", s)
	}
	for _, f := range files {
		if f.Stale() {
			t.Error("a file that did not change is stale")
		}
	}
	fresh := open(t, r, 1)
	if fresh.Version() != files[0].Version() {
		t.Error("another version after a restart")
	}
}

func TestTargetStaysAway(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	cfg := n.config()
	cfg.Timeout = 300 * time.Millisecond
	r := connect(t, cfg)
	files := []*remote.File{open(t, r, 1)}
	l := startLoad(t, r, files, func(err error) bool { return errors.Is(err, transport.ErrConnLost) })
	l.more(50)
	n.kill()
	until(t, "reads fail", func() bool { return l.failed.Load() > 3 })
	if _, err := r.Stat(t.Context(), "d", name(1)); !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("stat: %v", err)
	}
	if _, _, err := r.List(t.Context(), "d", ""); !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("list: %v", err)
	}
	if _, err := files[0].Digest(t.Context(), 0, 1); !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("digest: %v", err)
	}
	n.start()
	l.more(50)
	l.end()
}

// TestFileChangedWhileAway leaves one of two files alone.
func TestFileChangedWhileAway(t *testing.T) {
	n, r := mount(t, 2)
	same, other := open(t, r, 1), open(t, r, 2)
	stale := make(chan struct{}, 2)
	other.OnStale(func() { stale <- struct{}{} })
	n.kill()
	n.write(name(2), 2, 2)
	waiting := make(chan error, 1)
	go func() { waiting <- read(context.Background(), other, 2, 1, 0, 4096) }()
	n.start()
	if err := <-waiting; !errors.Is(err, transport.ErrStale) {
		t.Errorf("a read that waited: %v", err)
	}
	if err := read(t.Context(), same, 1, 1, 0, 4096); err != nil {
		t.Errorf("the other file: %v", err)
	}
	if len(stale) != 1 || !other.Stale() || same.Stale() {
		t.Errorf("stale: %v, %v; called %d times", same.Stale(), other.Stale(), len(stale))
	}
	if err := read(t.Context(), open(t, r, 2), 2, 2, 0, fileSize); err != nil {
		t.Error(err)
	}
}

// TestWriterWhileAway holds a settled file open for writing when the target
// comes back: nobody knows what was written.
func TestWriterWhileAway(t *testing.T) {
	n, r := mount(t, 1)
	f := open(t, r, 1)
	n.kill()
	w, err := os.OpenFile(n.path(name(1)), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	n.start()
	if err := read(t.Context(), f, 1, 1, 0, 8); !errors.Is(err, transport.ErrStale) {
		t.Errorf("read: %v", err)
	}
}

// TestCloseWhileAway gives a file up that the next session must not keep.
func TestCloseWhileAway(t *testing.T) {
	n, r := mount(t, 2)
	closed, kept := open(t, r, 1), open(t, r, 2)
	n.kill()
	closed.Close()
	n.start()
	if err := read(t.Context(), kept, 2, 1, 0, 8); err != nil {
		t.Fatal(err)
	}
	// A writer waits for those who have the file open. Nobody has.
	w, err := os.OpenFile(n.path(name(1)), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("the file is still leased: %v", err)
	}
	w.Close()
}

func TestCloseEndsWhatWaits(t *testing.T) {
	n, r := mount(t, 1)
	f := open(t, r, 1)
	mem := newRegion(4096)
	if err := r.Attach(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	n.kill()
	var done atomic.Int32
	results := make(chan error, 200)
	for range 100 {
		f.Submit([]*transport.Request{{Dst: transport.Span{Mem: mem, Len: 4096}, To: transporttest.Done(func(res transport.Result) {
			done.Add(1)
			results <- res.Err
		})}})
	}
	stat := make(chan error, 1)
	go func() {
		_, err := r.Stat(context.Background(), "d", name(1))
		stat <- err
	}()
	time.Sleep(nudge)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-stat; !errors.Is(err, transport.ErrClosed) {
		t.Errorf("a stat that waited: %v", err)
	}
	if got := done.Load(); got != 100 {
		t.Fatalf("%d of 100 requests are done after Close", got)
	}
	for range 100 {
		if err := <-results; !errors.Is(err, transport.ErrClosed) && !errors.Is(err, transport.ErrConnLost) {
			t.Error(err)
		}
	}
	if err := read(t.Context(), f, 1, 1, 0, 8); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	if _, err := r.Stat(t.Context(), "d", ""); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("stat after Close: %v", err)
	}
	if err := r.Attach(t.Context(), mem); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("attach after Close: %v", err)
	}
}

// slowTransport has links that tell of one answer after the other, and take their
// time, once slow is set.
type slowTransport struct {
	transport.Transport
	slow atomic.Bool
}

type slowLink struct {
	transport.Link
	t    *slowTransport
	late sync.WaitGroup
	turn sync.Mutex
}

func (s *slowTransport) Dial(ctx context.Context, session transport.Session) (transport.Link, error) {
	l, err := s.Transport.Dial(ctx, session)
	return &slowLink{Link: l, t: s}, err
}

func (l *slowLink) Submit(reqs []*transport.Request) (int, error) {
	for i, r := range reqs {
		forward := *r
		if l.t.slow.Load() {
			forward.To = transporttest.Done(func(res transport.Result) { l.late.Go(func() { l.end(r, res) }) })
		}
		if n, err := l.Link.Submit([]*transport.Request{&forward}); n == 0 {
			return i, err
		}
	}
	return len(reqs), nil
}

func (l *slowLink) end(r *transport.Request, res transport.Result) {
	l.turn.Lock()
	defer l.turn.Unlock()
	time.Sleep(5 * time.Millisecond)
	transporttest.End(r, res)
}

func (l *slowLink) Close() error {
	defer l.late.Wait()
	return l.Link.Close()
}

// TestManyFilesComeBack opens files again over a link on which that takes longer
// than the time-out, while each answer comes soon.
func TestManyFilesComeBack(t *testing.T) {
	const files = 200
	n := startNode(t, nil)
	for i := 1; i <= files; i++ {
		n.write(name(i), uint64(i), 1)
	}
	tr := &slowTransport{Transport: tcp.New(false)}
	cfg := n.config()
	cfg.Timeout = 500 * time.Millisecond
	cfg.Candidates = use(tr)
	r := connect(t, cfg)
	var all []*remote.File
	for i := range files {
		all = append(all, open(t, r, i+1))
	}
	before := r.Stats().Sessions
	n.kill()
	n.start()
	tr.slow.Store(true)
	began := time.Now()
	until(t, "the files are back", func() bool { return read(t.Context(), all[0], 1, 1, 0, 4096) == nil })
	t.Logf("back after %v", time.Since(began))
	if got := r.Stats().Sessions - before; got != 1 {
		t.Errorf("it took %d sessions", got)
	}
}
