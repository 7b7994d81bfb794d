package transporttest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hbmfs/transport"
)

// submit insists until the link has taken every flight.
func (f *fixture) submit(flights ...*flight) {
	f.t.Helper()
	if err := f.insist(flights); err != nil {
		f.t.Fatal(err)
	}
}

// insist is submit for goroutines other than the test's. A read that the link did
// not take together with the call that it is chained to waits for that one's end.
func (f *fixture) insist(flights []*flight) error {
	reqs := make([]*transport.Request, len(flights))
	for i, fl := range flights {
		reqs[i] = &fl.Request
	}
	until := time.Now().Add(patience)
	for taken := 0; taken < len(reqs); {
		n := 0
		if !reqs[taken].Chained || called(flights[:taken]) {
			var err error
			if n, err = f.link.Submit(reqs[taken:]); err != nil {
				return fmt.Errorf("submit: %w", err)
			}
			taken += n
		}
		if n == 0 {
			if time.Now().After(until) {
				return fmt.Errorf("%d of %d requests taken within %v", taken, len(reqs), patience)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	return nil
}

// called reports whether the latest call of flights, if there is one, has ended.
func called(flights []*flight) bool {
	for _, fl := range slices.Backward(flights) {
		if fl.Call != nil {
			return fl.done.Load() > 0
		}
	}
	return true
}

// breathe is a turn of a loop that waits for others.
func breathe(t *testing.T, until time.Time) {
	t.Helper()
	if time.Now().After(until) {
		t.Fatalf("nothing happened for %v", patience)
	}
	time.Sleep(100 * time.Microsecond)
}
