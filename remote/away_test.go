package remote_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/transport"
)

// TestAwayForLong: requests to a target that has been away for longer than the
// time-out fail soon, and say since when. The first that it answers again have
// the whole time-out.
func TestAwayForLong(t *testing.T) {
	const timeout = time.Second
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	cfg := n.config()
	cfg.Timeout = timeout
	r := connect(t, cfg)
	f := open(t, r, 1)
	if s := r.Stats(); s.AwaySince != nil {
		t.Fatalf("a target that answers is away: %+v", s)
	}
	before := time.Now()
	n.kill()
	if took := fails(t, r, f); took < timeout {
		t.Errorf("the first call failed after %v, want the whole time-out", took)
	}
	for range 4 {
		if took := fails(t, r, f); took > timeout {
			t.Errorf("a later call and read failed after %v", took)
		}
	}
	s := r.Stats()
	if s.AwaySince == nil || s.AwaySince.Before(before) || s.AwaySince.After(before.Add(timeout)) || s.AwayWhy != syscall.ECONNREFUSED.Error() {
		t.Errorf("away: %+v, want since %v, refused", s, before)
	}
	n.start()
	until(t, "the target is back", func() bool { return read(t.Context(), f, 1, 1, 0, 8) == nil })
	if s := r.Stats(); s.AwaySince != nil {
		t.Errorf("a target that came back is away: %+v", s)
	}
	n.kill()
	if took := fails(t, r, f); took < timeout {
		t.Errorf("when it went again, the first call failed after %v", took)
	}
}

// fails returns how long a call took that failed for want of the target. A read
// that starts with it must fail too.
func fails(t *testing.T, r *remote.Target, f *remote.File) time.Duration {
	t.Helper()
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- read(t.Context(), f, 1, 1, 0, 8) }()
	_, err := r.Stat(t.Context(), "d", name(1))
	for what, err := range map[string]error{"stat": err, "read": <-done} {
		if !errors.Is(err, transport.ErrConnLost) || !strings.Contains(err.Error(), "unreachable since") {
			t.Errorf("%s: %v, want lost, and since when", what, err)
		}
	}
	return time.Since(began)
}
