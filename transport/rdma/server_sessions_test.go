package rdma

import (
	"errors"
	"testing"

	"hbmfs/transport/transporttest"
)

func TestNonceIsGoodOnce(t *testing.T) {
	sessions := transporttest.NewSessions()
	source := transporttest.NewSource()
	s := sessions.Open(source)
	r := newRegistry(sessions)
	n := newNonce()
	m, err := r.enter(s.ID, source, n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.enter(s.ID, source, n); !errors.Is(err, errNonce) {
		t.Errorf("used twice: %v", err)
	}
	r.leave(m)
	if _, err := r.enter(s.ID, source, n); !errors.Is(err, errNonce) {
		t.Errorf("used again after its connection: %v", err)
	}
	if _, err := r.enter(s.ID, source, newNonce()); err != nil {
		t.Errorf("a fresh one: %v", err)
	}
}

func TestNoncesAreBounded(t *testing.T) {
	sessions := transporttest.NewSessions()
	source := transporttest.NewSource()
	s := sessions.Open(source)
	r := newRegistry(sessions)
	for i := range noncesPerSession {
		m, err := r.enter(s.ID, source, nonce{byte(i), byte(i >> 8), byte(i >> 16)})
		if err != nil {
			t.Fatal(i, err)
		}
		r.leave(m)
	}
	if _, err := r.enter(s.ID, source, newNonce()); !errors.Is(err, errNonce) {
		t.Errorf("one more: %v", err)
	}
}

func TestCrowd(t *testing.T) {
	sessions := transporttest.NewSessions()
	source := transporttest.NewSource()
	s := sessions.Open(source)
	r := newRegistry(sessions)
	var last *member
	for range connsPerSession {
		m, err := r.enter(s.ID, source, newNonce())
		if err != nil {
			t.Fatal(err)
		}
		last = m
	}
	if _, err := r.enter(s.ID, source, newNonce()); !errors.Is(err, errCrowd) {
		t.Errorf("one more: %v", err)
	}
	r.leave(last)
	if _, err := r.enter(s.ID, source, newNonce()); err != nil {
		t.Errorf("after one left: %v", err)
	}
}

func TestEndedSessionsAreForgotten(t *testing.T) {
	sessions := transporttest.NewSessions()
	r := newRegistry(sessions)
	for range 10 * sweepAt {
		source := transporttest.NewSource()
		s := sessions.Open(source)
		if _, err := r.enter(s.ID, source, newNonce()); err != nil {
			t.Fatal(err)
		}
		sessions.End(s.ID)
	}
	if len(r.known) > sweepAt {
		t.Errorf("%d sessions are remembered", len(r.known))
	}
}
