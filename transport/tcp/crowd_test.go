package tcp

import (
	"log/slog"
	"testing"

	"hbmfs/transport/transporttest"
)

// TestCrowd: one session's connections are limited, another's go on, and one
// that ended makes room.
func TestCrowd(t *testing.T) {
	s := NewServer(nil, slog.New(slog.DiscardHandler))
	one, other := transporttest.NewSource(), transporttest.NewSource()
	for i := range connsPerSession {
		if !s.enter(one) {
			t.Fatalf("connection %d is refused", i)
		}
	}
	if s.enter(one) {
		t.Errorf("more than %d connections of a session", connsPerSession)
	}
	if !s.enter(other) {
		t.Error("another session's connection is refused")
	}
	s.leave(one)
	if !s.enter(one) {
		t.Error("one that ended makes no room")
	}
	s.leave(other)
	if len(s.served) != 1 {
		t.Errorf("%d sessions are counted, want the one with connections", len(s.served))
	}
}
