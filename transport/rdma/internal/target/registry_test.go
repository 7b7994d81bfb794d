package target

import (
	"errors"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/rdma/internal/wire"
	"hbmfs/transport/transporttest"
)

func ample(sessions transport.Sessions) *registry {
	return newRegistry(sessions, transporttest.Ample().Connections)
}

func TestNonceIsGoodOnce(t *testing.T) {
	sessions := transporttest.NewSessions()
	source := transporttest.NewSource()
	s := sessions.Open(source)
	r := ample(sessions)
	n := wire.NewNonce()
	place, err := r.enter(s.ID, transport.Admission{Source: source}, n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.enter(s.ID, transport.Admission{Source: source}, n); !errors.Is(err, errNonce) {
		t.Errorf("used twice: %v", err)
	}
	place.Leave()
	if _, err := r.enter(s.ID, transport.Admission{Source: source}, n); !errors.Is(err, errNonce) {
		t.Errorf("used again after its connection: %v", err)
	}
	if _, err := r.enter(s.ID, transport.Admission{Source: source}, wire.NewNonce()); err != nil {
		t.Errorf("a fresh one: %v", err)
	}
}

func TestNoncesAreBounded(t *testing.T) {
	sessions := transporttest.NewSessions()
	source := transporttest.NewSource()
	s := sessions.Open(source)
	r := ample(sessions)
	for i := range noncesPerSession {
		place, err := r.enter(s.ID, transport.Admission{Source: source}, wire.Nonce{byte(i), byte(i >> 8), byte(i >> 16)})
		if err != nil {
			t.Fatal(i, err)
		}
		place.Leave()
	}
	if _, err := r.enter(s.ID, transport.Admission{Source: source}, wire.NewNonce()); !errors.Is(err, errNonce) {
		t.Errorf("one more: %v", err)
	}
}

// TestClientLeavesConnections has one client with many sessions connect as often
// as it can.
func TestClientLeavesConnections(t *testing.T) {
	const all = 64
	r := ample(transporttest.NewSessions())
	r.conns = transporttest.Bounds(all, 0).Connections
	var last *limits.Share
	for i := range all / 2 {
		place, err := r.enter(transport.SessionID{byte(i)}, transport.Admission{Client: "greedy"}, wire.NewNonce())
		if err != nil {
			t.Fatal(i, err)
		}
		last = place
	}
	n := wire.NewNonce()
	if _, err := r.enter(transport.SessionID{1}, transport.Admission{Client: "greedy"}, n); !errors.Is(err, limits.ErrLimit) {
		t.Errorf("one more: %v", err)
	}
	if _, err := r.enter(transport.SessionID{all}, transport.Admission{Client: "modest"}, wire.NewNonce()); err != nil {
		t.Errorf("another's: %v", err)
	}
	last.Leave()
	if _, err := r.enter(transport.SessionID{1}, transport.Admission{Client: "greedy"}, n); err != nil {
		t.Errorf("after one left: %v", err)
	}
}

func TestEndedSessionsAreForgotten(t *testing.T) {
	sessions := transporttest.NewSessions()
	r := ample(sessions)
	for range 10 * sweepAt {
		source := transporttest.NewSource()
		s := sessions.Open(source)
		if _, err := r.enter(s.ID, transport.Admission{Source: source}, wire.NewNonce()); err != nil {
			t.Fatal(err)
		}
		sessions.End(s.ID)
	}
	if len(r.known) > sweepAt {
		t.Errorf("%d sessions are remembered", len(r.known))
	}
}
