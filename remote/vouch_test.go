package remote_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/transport"
)

// TestVouch asks only when the term is over, and for no file that is closed:
// nobody would tell that of a change.
func TestVouch(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	var now atomic.Int64
	cfg := n.config()
	cfg.Clock = func() time.Duration { return time.Duration(now.Load()) }
	r := connect(t, cfg)
	f := open(t, r, 1)
	vouch := func(f *remote.File) error { return f.Vouch(t.Context(), r.Now()) }
	for _, pass := range []time.Duration{0, time.Second, 10 * time.Millisecond} {
		now.Add(int64(pass))
		if err := vouch(f); err != nil {
			t.Error(err)
		}
	}
	if got := r.Stats().Renewals; got != 1 {
		t.Errorf("%d questions, want one", got)
	}
	closed := open(t, r, 1)
	closed.Close()
	now.Add(int64(time.Second))
	if err := vouch(closed); !errors.Is(err, remote.ErrFileClosed) {
		t.Errorf("a closed file: %v", err)
	}
	n.kill()
	n.write(name(1), 1, 2)
	n.start()
	if err := vouch(f); !errors.Is(err, transport.ErrStale) {
		t.Errorf("a file that changed while the target was away: %v", err)
	}
}

// TestIsVouched is of what the target was asked already, and of no change since.
func TestIsVouched(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	var now atomic.Int64
	cfg := n.config()
	cfg.Clock = func() time.Duration { return time.Duration(now.Load()) }
	r := connect(t, cfg)
	f := open(t, r, 1)
	if err := f.Vouch(t.Context(), r.Now()); err != nil {
		t.Fatal(err)
	}
	arrived := r.Now()
	now.Add(int64(time.Second))
	if !f.IsVouched(arrived) || f.IsVouched(r.Now()) {
		t.Errorf("within the term %v, later %v", f.IsVouched(arrived), f.IsVouched(r.Now()))
	}
	n.kill()
	n.write(name(1), 1, 2)
	n.start()
	if err := f.Vouch(t.Context(), r.Now()); !errors.Is(err, transport.ErrStale) {
		t.Error(err)
	}
	if f.IsVouched(arrived) || f.IsVouched(r.Now()) {
		t.Error("a file that changed is vouched for")
	}
}
