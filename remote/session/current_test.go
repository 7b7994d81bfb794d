package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/remote/outage"
	"hbmfs/remote/term"
	"hbmfs/transport"
)

var (
	errFirst = errors.New("first")
	errLater = errors.New("later")
)

// newCurrent returns one whose clock is the bubble's.
func newCurrent(o *outage.Outage) *Current {
	began := time.Now()
	return NewCurrent(func() time.Duration { return time.Since(began) }, o)
}

func newSession() *Session { return &Session{Term: term.NewRenewer(term.Boot, nil)} }

// TestReplaced: the session that fails is lost once, with the first reason, and who
// waits has the next one.
func TestReplaced(t *testing.T) { synctest.Test(t, replaced) }

func replaced(t *testing.T) {
	var o outage.Outage
	c, first, next := newCurrent(&o), newSession(), newSession()
	if err := c.Install(first); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Get(); s != first || err != nil || c.Vouching() != first || c.Why() != nil || c.Silence() != 0 {
		t.Errorf("%v, %v, silent for %v", s, err, c.Silence())
	}
	c.Fail(next, errLater) // which is not the current one
	c.Fail(first, errFirst)
	c.Fail(first, errLater)
	time.Sleep(time.Second)
	if s, err := c.Get(); s != nil || err != nil || c.Vouching() != nil || !errors.Is(c.Why(), errFirst) || !o.IsOn() || c.Silence() != time.Second {
		t.Errorf("%v, %v, %v, silent for %v", s, err, c.Why(), c.Silence())
	}
	if s := <-c.Lost(); s != first || len(c.lost) != 0 {
		t.Error("another is lost, or one twice")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Await(ctx); !errors.Is(err, errFirst) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who waited in vain has %v", err)
	}
	got := make(chan *Session)
	go func() {
		s, _ := c.Await(t.Context())
		got <- s
	}()
	synctest.Wait()
	c.StillNone(errLater)
	if !errors.Is(c.Why(), errLater) {
		t.Errorf("there is none since: %v", c.Why())
	}
	if err := c.Install(next); err != nil || <-got != next || c.Why() != nil {
		t.Errorf("the next one: %v, %v", err, c.Why())
	}
}

// TestClosed: after Close there is no session, and will be none.
func TestClosed(t *testing.T) { synctest.Test(t, closed) }

func closed(t *testing.T) {
	c, last := newCurrent(new(outage.Outage)), newSession()
	ended := make(chan error)
	go func() {
		_, err := c.Await(t.Context())
		ended <- err
	}()
	synctest.Wait()
	if s := c.Close(); s != nil {
		t.Errorf("closed without a session: %v", s)
	}
	if err := <-ended; !errors.Is(err, transport.ErrClosed) {
		t.Errorf("who waited has %v", err)
	}
	if err := c.Install(last); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("installed: %v", err)
	}
	if s, err := c.Get(); s != nil || !errors.Is(err, transport.ErrClosed) || c.Vouching() != nil {
		t.Errorf("%v, %v", s, err)
	}
	c.Fail(last, errLater)
	if len(c.Lost()) != 0 || !errors.Is(c.Why(), transport.ErrClosed) {
		t.Errorf("%d lost, %v", len(c.Lost()), c.Why())
	}

	c = newCurrent(new(outage.Outage))
	if err := c.Install(last); err != nil || c.Close() != last {
		t.Errorf("the last one was not returned, %v", err)
	}
}
