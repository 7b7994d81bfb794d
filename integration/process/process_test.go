package process

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startShell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command("sh", "-c", script))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.End(syscall.SIGKILL) })
	return p
}

func TestAwaitLineAndStop(t *testing.T) {
	p := startShell(t, "echo log >&2; echo ready at 7; exec sleep 60")
	if line, err := p.AwaitLine(t.Context(), "ready "); err != nil || line != "ready at 7" {
		t.Errorf("line %q, error %v", line, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("ended by a signal: %v, want an error with what it said", err)
	}
}

func TestAwaitLineOfOneThatEnds(t *testing.T) {
	p := startShell(t, "echo why it failed; exit 3")
	_, err := p.AwaitLine(t.Context(), "ready ")
	if err == nil || !strings.Contains(err.Error(), "why it failed") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
}

func TestAwaitLineEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := startShell(t, "exec sleep 60").AwaitLine(ctx, "ready "); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestLineOf(t *testing.T) {
	const ready = "time=now level=INFO\nserving a=/x b=/y on 127.0.0.1:7070\nmore"
	if got := lineOf(ready, "serving "); got != "serving a=/x b=/y on 127.0.0.1:7070" {
		t.Errorf("got %q", got)
	}
	for _, early := range []string{"", "serving a=/x on 127.0.0.1:70", "not serving a on b\n"} {
		if got := lineOf(early, "serving "); got != "" {
			t.Errorf("found %q in %q", got, early)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var kept tail
	text := strings.Repeat("0123456789", tailSize/8)
	for piece := range slices.Chunk([]byte(text), 1000) {
		if n, err := kept.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("wrote %d of %d, error %v", n, len(piece), err)
		}
	}
	if got := kept.String(); got != text[len(text)-tailSize:] {
		t.Errorf("kept %d bytes, ending %q", len(got), got[len(got)-20:])
	}
}

func TestLines(t *testing.T) {
	var got []string
	l := &Lines{Each: func(line string) { got = append(got, line) }}
	for _, piece := range []string{"a", "b\nc\n\nd", "\ne"} {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("wrote %d, error %v", n, err)
		}
	}
	if want := []string{"ab", "c", "", "d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMountListed(t *testing.T) {
	const table = "36 35 98:0 / /mnt/a rw,noatime master:1 - ext3 /dev/root rw\n"
	if !mountListed(table, "/mnt/a") || mountListed(table, "/mnt") || mountListed(table, "/") {
		t.Error("want /mnt/a to be listed, and it alone")
	}
}
