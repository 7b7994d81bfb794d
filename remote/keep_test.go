package remote_test

import (
	"errors"
	"os"
	"testing"

	"hbmfs/remote"
	"hbmfs/transport"
)

// TestReopen: a file that was closed is opened again without a message, or with one
// that asks what its name leads to, and is the same one at the target.
func TestReopen(t *testing.T) {
	_, r := mount(t, 1)
	f := open(t, r, 1)
	v := f.Version()
	f.Close()
	if err := read(t.Context(), f, 1, 1, 0, 8); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("a closed file that is kept: %v", err)
	}
	asked := r.Stats().RoundTrips
	again := reopen(t, r, 1, v)
	if n := r.Stats().RoundTrips - asked; n != 0 {
		t.Errorf("%d messages to open it again", n)
	}
	if err := read(t.Context(), again, 1, 1, 4096, 4096); err != nil {
		t.Error(err)
	}
	if _, ok := r.Reopen("d", name(1), v); ok {
		t.Error("one file was opened again twice")
	}
	again.Close()
	checked, err := r.Open(t.Context(), "d", name(1), &v)
	if err != nil {
		t.Fatal(err)
	}
	defer checked.Close()
	if n := r.Stats().RoundTrips - asked; n != 1 {
		t.Errorf("%d messages to look and open it again, want 1", n)
	}
	if s := r.Stats(); s.Opens != 1 || s.Reopens != 2 || s.Kept != 0 {
		t.Errorf("%d opens, %d again, %d kept", s.Opens, s.Reopens, s.Kept)
	}
}

func reopen(t *testing.T, r *remote.Target, number int, v transport.Version) *remote.File {
	t.Helper()
	f, ok := r.Reopen("d", name(number), v)
	if !ok {
		t.Fatal("it is not kept")
	}
	t.Cleanup(f.Close)
	return f
}

// TestDiscard: what is discarded is not kept, though it was before.
func TestDiscard(t *testing.T) {
	_, r := mount(t, 1)
	f := open(t, r, 1)
	f.Close()
	again := reopen(t, r, 1, f.Version())
	again.Discard()
	if _, ok := r.Reopen("d", name(1), f.Version()); ok || r.Stats().Kept != 0 {
		t.Error("it is kept")
	}
}

// TestKeptEnds: what is kept is let go where the file changes, where its name leads
// elsewhere, and with the session.
func TestKeptEnds(t *testing.T) {
	for what, end := range map[string]func(*node, *remote.Target, transport.Version) error{
		"written to": func(n *node, _ *remote.Target, _ transport.Version) error {
			w, err := os.OpenFile(n.path(name(1)), os.O_WRONLY, 0)
			if err == nil {
				w.Close()
			}
			return err
		},
		"replaced": func(n *node, r *remote.Target, v transport.Version) error {
			n.write(name(1), 1, 2)
			if _, err := r.Open(n.t.Context(), "d", name(1), &v); !errors.Is(err, transport.ErrStale) {
				n.t.Errorf("opening the old version: %v", err)
			}
			return nil
		},
		"lost with its session": func(n *node, r *remote.Target, _ transport.Version) error {
			n.kill()
			n.start()
			_, err := r.Stat(n.t.Context(), "d", name(1))
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			n, r := mount(t, 1)
			f := open(t, r, 1)
			v := f.Version()
			f.Close()
			if kept, ok := r.Keeps("d", name(1)); !ok || kept != v {
				t.Fatal("it is not kept")
			}
			if err := end(n, r, v); err != nil {
				t.Fatal(err)
			}
			if what == "replaced" {
				return // it may be kept, and is not found by the new version
			}
			until(t, "it is let go", func() bool { return r.Stats().Kept == 0 })
			if _, ok := r.Reopen("d", name(1), v); ok {
				t.Error("it was opened again")
			}
		})
	}
}
