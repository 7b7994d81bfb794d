package serving

import (
	"log/slog"
	"testing"

	"hbmfs/transport/transporttest"
)

// TestCrowd: one session's connections are limited, another's go on, and one
// that ended makes room.
func TestCrowd(t *testing.T) {
	const limit = 3
	s := NewServer(slog.New(slog.DiscardHandler), "connection", limit)
	one, other := transporttest.NewSource(), transporttest.NewSource()
	for i := range limit {
		if !s.Enter(one) {
			t.Fatalf("connection %d is refused", i)
		}
	}
	if s.Enter(one) {
		t.Errorf("more than %d connections of a session", limit)
	}
	if !s.Enter(other) {
		t.Error("another session's connection is refused")
	}
	s.Leave(one)
	if !s.Enter(one) {
		t.Error("one that ended makes no room")
	}
	s.Leave(other)
	if len(s.served) != 1 {
		t.Errorf("%d sessions are counted, want the one with connections", len(s.served))
	}
}
