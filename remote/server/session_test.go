package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hbmfs/remote/term"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/logging"
)

func TestSessionsAreIsolated(t *testing.T) {
	other := t.TempDir()
	r := newRig(t, named{name: "other", path: other})
	r.write("f", 1, 1, fileSize)
	a, b := r.mount("d"), r.mount("other")
	ref := a.openSettled("f")
	if _, err := b.read(ref, 0, 8); !errors.Is(err, transport.ErrUnknownFile) {
		t.Errorf("read by another session: %v", err)
	}
	b.close(ref)
	a.holds(ref, 1, 1, fileSize)
	if _, err := b.stat("d", "f"); status.Code(err) != codes.NotFound {
		t.Errorf("a dataset that the session did not ask for: %v", err)
	}
	b.id = []byte("no such session!")
	if _, err := b.do(t.Context(), stats("other", "")); status.Code(err) != codes.Unauthenticated {
		t.Errorf("an unknown session: %v", err)
	}
}

func TestSessionRefused(t *testing.T) {
	with := t.TempDir()
	if err := os.Mkdir(with+"/.hbmfs", 0o755); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, named{name: "reserved", path: with})
	for name, c := range map[string]struct {
		req  *wire.OpenSessionRequest
		want codes.Code
		text string
	}{
		"protocol": {&wire.OpenSessionRequest{Protocol: wire.Protocol + 1}, codes.FailedPrecondition, "version"},
		"dataset":  {&wire.OpenSessionRequest{Protocol: wire.Protocol, Datasets: [][]byte{[]byte("none")}}, codes.NotFound, `"d"`},
		"reserved": {&wire.OpenSessionRequest{Protocol: wire.Protocol}, codes.FailedPrecondition, `dataset "reserved"`},
		"many":     {&wire.OpenSessionRequest{Protocol: wire.Protocol, Datasets: make([][]byte, maxDatasets+1)}, codes.InvalidArgument, ""},
	} {
		_, err := r.client.OpenSession(t.Context(), c.req)
		if status.Code(err) != c.want || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.mount("d")
}

// TestSessionGrace runs on a clock of its own.
func TestSessionGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := &Server{
			cfg:      Config{Clock: term.Boot},
			log:      logging.NewLimiter(slog.New(slog.DiscardHandler)),
			doubts:   newDoubts(term.Boot),
			bounds:   newBounds(1024, nil),
			sessions: make(map[transport.SessionID]*session),
		}
		start := func() *session {
			s, err := target.startSession(nil, "test", "peer")
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		alive := func(s *session) bool {
			synctest.Wait()
			return target.session(s.id) == s
		}
		attached, fresh := start(), start()
		time.Sleep(freshGrace - time.Millisecond)
		if err := target.attach(attached); err != nil {
			t.Fatal(err)
		}
		if err := target.attach(attached); !errors.Is(err, errSecondStream) {
			t.Errorf("a second stream: %v", err)
		}
		if !alive(fresh) {
			t.Fatal("closed before its grace was over")
		}
		time.Sleep(time.Hour)
		if alive(fresh) {
			t.Error("lives on without a stream")
		}
		if err := target.attach(fresh); !errors.Is(err, errNoSession) {
			t.Errorf("attached to a closed session: %v", err)
		}
		if !alive(attached) {
			t.Fatal("closed with its stream attached")
		}
		attached.end("test")
		if alive(attached) || target.bounds.sessions.Used() != 0 {
			t.Error("something is left of a session that was ended")
		}
	})
}

// TestSessionEndsWithItsStream breaks the stream without a goodbye.
func TestSessionEndsWithItsStream(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	m := r.session()
	ended := r.target.session(transport.SessionID(m.id)).ended
	ctx, cancel := context.WithCancel(t.Context())
	m.attachIn(ctx, true)
	ref := m.openSettled("f")
	cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the session outlives its stream")
	}
	openForWriting(t, r.path("f")).Close()
	if _, err := m.read(ref, 0, 8); !errors.Is(err, transport.ErrUnknownFile) {
		t.Errorf("read in a session without its stream: %v", err)
	}
}

// TestGoodbye ends the stream as a mount does that is done.
func TestGoodbye(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	m := r.mount()
	ref := m.openSettled("f")
	m.stream.CloseSend()
	for range m.stream.Context().Done() {
	}
	if _, err := m.read(ref, 0, 8); !errors.Is(err, transport.ErrUnknownFile) {
		t.Errorf("read in a closed session: %v", err)
	}
	if _, ok := r.target.Session(transport.SessionID(m.id)); ok {
		t.Error("the session is still known")
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	files := newFiles(t)
	for name, exports := range map[string][]named{
		"nothing": nil,
		"absent":  {{name: "a", path: dir + "/absent"}},
		"twice":   {{name: "a", path: dir}, {name: "a", path: dir}},
		"device":  {{name: "a", path: "/dev/null"}},
		"name":    {{name: "..", path: dir}},
	} {
		if target, err := New(Config{Exports: exportsOf(files, exports...)}); err == nil {
			target.Close()
			t.Errorf("%s: accepted", name)
		} else if name != "nothing" && !strings.Contains(err.Error(), exports[0].name) {
			t.Errorf("%s: the error does not name the export: %v", name, err)
		}
	}
}

// TestCloseLeavesNothing compares the descriptors before and after.
func TestCloseLeavesNothing(t *testing.T) {
	before := openDescriptors(t)
	t.Run("", func(t *testing.T) {
		r := newRig(t)
		r.write("f", 1, 1, fileSize)
		m := r.mount()
		m.openSettled("f")
		m.openSettled("f")
		if err := r.target.Close(); err != nil {
			t.Fatal(err)
		}
		openForWriting(t, r.path("f")).Close()
	})
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}
