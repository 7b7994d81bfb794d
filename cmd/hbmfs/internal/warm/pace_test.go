package warm

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// TestPace: which lines are brought, as the reader goes on.
func TestPace(t *testing.T) {
	p := newPace(100)
	line := int64(0)
	next := func(n int64, want verdict) {
		t.Helper()
		if got := p.judge(line+1, n); got != want {
			t.Fatalf("line %d of %d bytes, %d ahead, %d read: %v, want %v", line+1, n, p.ahead, p.read, got, want)
		}
		if want == bring || want == skip {
			line++
		}
	}
	next(500, bring) // larger than the window, and alone
	next(0, bring)   // as an empty line is, which takes no room
	next(1, wait)
	p.change(func() { p.advance(2) })
	next(60, bring)
	next(40, bring)
	next(1, wait)
	next(0, bring)
	p.change(func() { p.advance(3) })
	next(60, bring)
	next(1, wait)
	p.change(func() { p.advance(2) }) // it can't unread
	next(1, wait)
	p.change(func() { p.advance(8) }) // beyond what was brought
	next(1000, skip)
	next(1000, skip)
	next(30, bring)
	p.end()
	next(70, bring)
	next(1, stop)
}

// TestPaceWaits: a line waits for the reader, or for its end, or the context's.
func TestPaceWaits(t *testing.T) {
	for what, c := range map[string]struct {
		happens func(p *pace, w *io.PipeWriter, cancel func())
		want    verdict
		err     error
	}{
		"the reader is past the first": {func(_ *pace, w *io.PipeWriter, _ func()) { io.WriteString(w, "0\n1\n") }, bring, nil},
		"the reader is past both":      {func(_ *pace, w *io.PipeWriter, _ func()) { io.WriteString(w, " 2 \n") }, skip, nil},
		"the reader says no more":      {func(_ *pace, w *io.PipeWriter, _ func()) { w.Close() }, stop, nil},
		"the context ends":             {func(_ *pace, _ *io.PipeWriter, cancel func()) { cancel() }, stop, context.Canceled},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p := newPace(10)
			r, w := io.Pipe()
			defer w.Close()
			go func() { _ = p.listen(r) }()
			if v, err := p.admit(ctx, 1, 10); v != bring || err != nil {
				t.Fatalf("%s: the first: %v, %v", what, v, err)
			}
			go func() {
				synctest.Wait() // until the second waits
				c.happens(p, w, cancel)
			}()
			if v, err := p.admit(ctx, 2, 1); v != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s: %v, %v", what, v, err)
			}
		})
	}
}

// TestListenRefuses: what is no number ends the listening, and is not taken for the
// reader's end.
func TestListenRefuses(t *testing.T) {
	for _, text := range []string{"1\nx\n", "-1\n", "\n\nabc\n", "1 2\n"} {
		p := newPace(1)
		if err := p.listen(strings.NewReader(text)); !errors.Is(err, ErrProgress) || p.ended {
			t.Errorf("%q: %v, ended: %v", text, err, p.ended)
		}
	}
}

// TestWalk: regular files only, once each, in order, with their size in all.
func TestWalk(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b/2", "b/1", "b/c/d/e/3", "a", "f"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 10), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..", filepath.Join(dir, "b", "up")); err != nil {
		t.Fatal(err)
	}
	files, size, err := Walk(t.Context(), []string{filepath.Join(dir, "b"), filepath.Join(dir, "a"), filepath.Join(dir, "b", "c")}, nil)
	var names []string
	for _, f := range files {
		name, _ := filepath.Rel(dir, f.Path)
		names = append(names, name)
	}
	if got := strings.Join(names, " "); err != nil || got != "a b/1 b/2 b/c/d/e/3" || size != 40 {
		t.Errorf("%s, %d bytes, %v", got, size, err)
	}
	if _, _, err := Walk(t.Context(), []string{filepath.Join(dir, "none")}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}
