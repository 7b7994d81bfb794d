package server

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/logging"
)

// bothWays runs a test by the data plane and by gRPC.
func bothWays(t *testing.T, test func(t *testing.T, m *mount, ask func(*wire.Ask) (*wire.Answer, error))) {
	for name, way := range map[string]func(*mount, context.Context, *wire.Ask) (*wire.Answer, error){"call": (*mount).call, "do": (*mount).do} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.write("f", 1, 1, fileSize)
			m := r.mount()
			test(t, m, func(ask *wire.Ask) (*wire.Answer, error) { return way(m, t.Context(), ask) })
		})
	}
}

func TestAsk(t *testing.T) {
	bothWays(t, func(t *testing.T, m *mount, ask func(*wire.Ask) (*wire.Answer, error)) {
		const handle = 1 << 40
		open := opens("d", "f", handle, 1)
		opened, err := ask(open)
		if err != nil {
			t.Fatal(err)
		}
		o := opened.GetOpen()
		if o == nil || !o.Settled || o.Attr.Size != fileSize || o.TermMs == 0 {
			t.Fatalf("opened as %v", opened)
		}
		m.holds(refOf(open, opened), 1, 1, fileSize)
		stated, err := ask(stats("d", "f"))
		if s := stated.GetStat(); err != nil || s == nil || s.TermMs == 0 || !bytes.Equal(s.Attr.Version, o.Attr.Version) {
			t.Errorf("stat: %v, %v", stated, err)
		}
		closed, err := ask(closes(handle, handle+1))
		if err != nil || closed.GetClose() == nil {
			t.Errorf("close: %v, %v", closed, err)
		}
		m.nothingOpen()
		m.target.session(transport.SessionID(m.id)).end("test")
		for _, a := range []*wire.Ask{opens("d", "f", 1, 1), stats("d", "f"), closes(1)} {
			if _, err := ask(a); status.Code(err) != codes.Unauthenticated {
				t.Errorf("%v of a session that has ended: %v", a, err)
			}
		}
	})
}

// nothingOpen fails the test if anything is open at the target, or counted so.
func (m *mount) nothingOpen() {
	m.t.Helper()
	b := m.target.bounds
	if files, handles := b.files.limit.Used(), b.handles.Used(); files != 0 || handles != 0 {
		m.t.Errorf("%d files are open, and %d handles", files, handles)
	}
	m.goesOn(m.writer("f"), "no mount has it open")
}

func TestAskFails(t *testing.T) {
	stale := opens("d", "f", 3, 1)
	stale.GetOpen().Version = make([]byte, len(transport.Version{}))
	odd := opens("d", "f", 4, 1)
	odd.GetOpen().Version = []byte{1}
	unknown := stats("none\xff", "f")
	bothWays(t, func(t *testing.T, m *mount, ask func(*wire.Ask) (*wire.Answer, error)) {
		for name, c := range map[string]struct {
			ask   *wire.Ask
			code  codes.Code
			errno unix.Errno
		}{
			"absent":   {opens("d", "none", 1, 1), codes.NotFound, unix.ENOENT},
			"odd name": {stats("d", "\xff\n"+strings.Repeat("x", 200)), codes.NotFound, unix.ENOENT},
			"handle":   {opens("d", "f", 0, 1), codes.InvalidArgument, unix.EINVAL},
			"stale":    {stale, codes.FailedPrecondition, unix.ESTALE},
			"version":  {odd, codes.InvalidArgument, unix.EINVAL},
			"dataset":  {unknown, codes.NotFound, 0},
			"nothing":  {new(wire.Ask), codes.InvalidArgument, unix.EINVAL},
		} {
			answer, err := ask(c.ask)
			if status.Code(err) != c.code || errno(err) != uint32(c.errno) || answer.What != nil {
				t.Errorf("%s: %v, errno %d, answer %v", name, err, errno(err), answer)
			}
		}
		m.nothingOpen()
	})
}

func TestTooManyToClose(t *testing.T) {
	m := newRig(t).mount()
	if _, err := m.do(t.Context(), closes(make([]uint64, maxCloseHandles+1)...)); errno(err) != uint32(unix.EINVAL) {
		t.Error(err)
	}
}

// TestLargeAnswer has links that name more than a data plane carries: those who ask
// by it are told to ask otherwise.
func TestLargeAnswer(t *testing.T) {
	m := newRig(t).mount()
	for _, n := range []int{transport.MaxCall - 300, transport.MaxCall, 4095} {
		to := strings.Repeat("x", n)
		must(t, os.Symlink(to, m.path(itoa(n))))
		answer, err := m.call(t.Context(), stats("d", itoa(n)))
		if large := n >= transport.MaxCall; err != nil || answer.TooLarge != large || (answer.GetStat() == nil) != large {
			t.Errorf("a link to %d bytes: %v, %v", n, answer, err)
		}
		answer, err = m.do(t.Context(), stats("d", itoa(n)))
		if err != nil || answer.TooLarge || string(answer.GetStat().GetAttr().GetSymlink()) != to {
			t.Errorf("by gRPC: %v, %v", answer, err)
		}
	}
}

// oddStore has opens wait for what before does, and describes files by what after
// makes of their attributes.
type oddStore struct {
	store.Store
	before func(path string)
	after  func(*wire.Attr)
}

type oddTree struct {
	store.Tree
	*oddStore
}

func (s *oddStore) Open() (store.Tree, error) {
	tree, err := s.Store.Open()
	return oddTree{tree, s}, err
}

func (t oddTree) Open(ctx context.Context, path []byte) (store.Object, *wire.Attr, error) {
	if t.before != nil {
		t.before(string(path))
	}
	o, attr, err := t.Tree.Open(ctx, path)
	if err == nil && t.after != nil {
		t.after(attr)
	}
	return o, attr, err
}

// oddMount is one of an odd store, with a file.
func oddMount(t *testing.T, s *oddStore) *mount {
	path := t.TempDir()
	s.Store = newFiles(t).Store(path, nil)
	r := newRigWith(t, Config{Exports: []Export{{"odd", s}}})
	r.dir = path
	r.write("f", 1, 1, fileSize)
	return r.mount()
}

// TestLargeOpen: an open whose answer does not fit leaves nothing open.
func TestLargeOpen(t *testing.T) {
	m := oddMount(t, &oddStore{after: func(a *wire.Attr) { a.Symlink = make([]byte, transport.MaxCall) }})
	answer, err := m.call(t.Context(), opens("odd", "f", 1, 1))
	if err != nil || !answer.TooLarge || answer.What != nil {
		t.Errorf("answered %v, %v", answer, err)
	}
	m.nothingOpen()
	if answer, err := m.do(t.Context(), opens("odd", "f", 1, 2)); err != nil || !answer.GetOpen().GetSettled() {
		t.Errorf("by gRPC: %v, %v", answer, err)
	}
}

// TestOpenTooLate: an open whose connection ends before it does leaves nothing open.
func TestOpenTooLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := oddMount(t, &oddStore{before: func(string) { cancel() }})
	if answer, err := m.call(ctx, opens("odd", "f", 1, 1)); status.Code(err) != codes.Canceled {
		t.Errorf("answered %v, %v", answer, err)
	}
	m.nothingOpen()
}

// TestOpenAgain opens a handle that is open: what it named before is closed, also
// if it names nothing now.
func TestOpenAgain(t *testing.T) {
	r := newRig(t)
	m := r.mount()
	r.write("old", 1, 1, fileSize)
	r.write("f", 2, 1, fileSize)
	first, second := opens("d", "old", 1, 1), opens("d", "f", 1, 2)
	old, _ := m.call(t.Context(), first)
	now, err := m.call(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	r.goesOn(r.writer("old"), "its handle is another file's")
	if _, err := m.read(refOf(first, old), 0, 8); !errors.Is(err, transport.ErrStale) {
		t.Errorf("the old file is read: %v", err)
	}
	ref := refOf(second, now)
	m.holds(ref, 2, 1, fileSize)
	if _, err := m.call(t.Context(), first); errno(err) != uint32(unix.EEXIST) {
		t.Errorf("an attempt that came late: %v", err)
	}
	m.holds(ref, 2, 1, fileSize)
	if _, err := m.call(t.Context(), opens("d", "none", 1, 3)); errno(err) != uint32(unix.ENOENT) {
		t.Error(err)
	}
	m.nothingOpen()
}

// TestOpensRace opens one handle many times at once, and closes it now and then.
func TestOpensRace(t *testing.T) {
	r := newRig(t)
	m := r.mount()
	r.write("f", 1, 1, fileSize)
	r.write("g", 2, 1, fileSize)
	for round := range 20 {
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%4 == 3 {
					time.AfterFunc(time.Duration(round)*10*time.Microsecond, cancel)
				}
				_, err := m.call(ctx, opens("d", []string{"f", "g"}[i%2], 1, uint64(i/4)))
				if err != nil && errno(err) != uint32(unix.EEXIST) && status.Code(err) != codes.Canceled {
					t.Error(err)
				}
				if i == round {
					m.call(t.Context(), closes(1))
				}
			})
		}
		wg.Wait()
		if n := r.target.bounds.handles.Used(); n > 1 {
			t.Errorf("%d handles are open", n)
		}
		if n := r.target.bounds.files.limit.Used(); n > 1 {
			t.Errorf("%d files are open", n)
		}
	}
	if _, err := m.call(t.Context(), closes(1)); err != nil {
		t.Error(err)
	}
	m.nothingOpen()
	r.goesOn(r.writer("g"), "no mount has it open")
}

// TestCallsTakeTurns asks for more at once than a target does.
func TestCallsTakeTurns(t *testing.T) {
	const most = 4
	entered, gate := make(chan string, 64), make(chan struct{})
	m := oddMount(t, &oddStore{before: func(path string) {
		entered <- path
		<-gate
	}})
	m.target.bounds.calls.All = most
	var wg sync.WaitGroup
	for i := range uint64(3 * most) {
		wg.Go(func() {
			if _, err := m.call(t.Context(), opens("odd", "f", i+1, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	for range most {
		<-entered
	}
	select {
	case <-entered:
		t.Errorf("more than %d calls are under way", most)
	case <-time.After(100 * time.Millisecond):
	}
	close(gate)
	wg.Wait()
	if n := m.target.bounds.calls.Used(); n != 0 {
		t.Errorf("%d calls are under way at the end", n)
	}
}

// deafLog is a log that nobody reads.
type deafLog struct{ entered, gate chan struct{} }

func (l *deafLog) Write(p []byte) (int, error) {
	close(l.entered)
	<-l.gate
	return len(p), nil
}

// TestDeafLog: an open whose refusal can't be logged holds up no other.
func TestDeafLog(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.write(itoa(i), uint64(i), 1, fileSize)
	}
	log := &deafLog{make(chan struct{}), make(chan struct{})}
	events := logging.NewLimiter(logging.New(log))
	t.Cleanup(events.Close)
	files := r.target.bounds.files.limit
	files.All, files.Log = 2, events
	m := r.mount()
	opensOne := func(i int) error {
		_, err := m.call(t.Context(), opens("d", itoa(i), uint64(i+1), 1))
		return err
	}
	must(t, opensOne(0), opensOne(1))
	refused := make(chan error)
	go func() { refused <- opensOne(2) }()
	<-log.entered
	m.call(t.Context(), closes(1))
	if err := opensOne(0); err != nil {
		t.Error(err)
	}
	close(log.gate)
	if err := <-refused; errno(err) != uint32(unix.EUSERS) {
		t.Errorf("one too many: %v", err)
	}
}

// FuzzCall: whatever is asked is answered, and opens no more than one file.
func FuzzCall(f *testing.F) {
	for _, ask := range []*wire.Ask{new(wire.Ask), opens("d", "f", 1, 1), opens("d", "none", 1, 1), opens("d", "f", 0, 0), stats("d", "f"), stats("d", ""), closes(1, 2, 3)} {
		b, err := proto.Marshal(ask)
		must(f, err)
		f.Add(b)
	}
	f.Add([]byte("\xff"))
	dir := f.TempDir()
	must(f, os.WriteFile(dir+"/f", content(1, 1, fileSize), 0o644))
	target, err := New(Config{Exports: exportsOf(newFiles(f), named{name: "d", path: dir})})
	must(f, err)
	f.Cleanup(func() { target.Close() })
	f.Fuzz(func(t *testing.T, ask []byte) {
		s, err := target.startSession(target.exports, "fuzz", "fuzz")
		must(t, err)
		m := &mount{rig: &rig{t: t}, source: s}
		answer, err := m.callRaw(t.Context(), ask)
		if n := len(s.handles); n > 1 || n == 1 && answer.GetOpen() == nil {
			t.Errorf("%d files are open after %v", n, answer)
		}
		if err == nil && answer.What == nil && !answer.TooLarge {
			t.Errorf("answered nothing")
		}
		s.out.forgo()
		s.end("done")
		if n := target.bounds.files.limit.Used(); n != 0 {
			t.Errorf("%d files are open at the end", n)
		}
	})
}
