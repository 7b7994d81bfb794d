package remote

import (
	"errors"
	"testing"

	"hbmfs/transport"
)

// TestEarlyChanges: changes of unknown handles are remembered while an open is
// under way, and not without bound.
func TestEarlyChanges(t *testing.T) {
	target := &Target{}
	s := &session{files: make(map[uint64]*File), early: make(map[uint64]struct{})}
	change := func(handle uint64) error {
		f, err := target.eventFile(s, handle)
		if f != nil {
			t.Errorf("handle %d is of a file", handle)
		}
		return err
	}
	if err := change(1); err != nil || len(s.early) != 0 {
		t.Errorf("without an open: %v, %d remembered", err, len(s.early))
	}
	target.opens(s, 1)
	for handle := range uint64(maxEarly) {
		if err := change(handle); err != nil {
			t.Fatal(err)
		}
	}
	if err := change(maxEarly); !errors.Is(err, transport.ErrProtocol) {
		t.Errorf("one too many: %v", err)
	}
	target.opens(s, 1)
	target.opens(s, -1)
	if len(s.early) != maxEarly {
		t.Errorf("%d remembered while an open is under way", len(s.early))
	}
	target.opens(s, -1)
	if len(s.early) != 0 {
		t.Errorf("%d remembered after the last open", len(s.early))
	}
}
