package lanes

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// TestOverdue has a connection that owes one answer, and brings bytes and other
// answers meanwhile.
func TestOverdue(t *testing.T) {
	const limit, never = 8, 100
	for _, k := range []struct {
		what    string
		bytes   int    // a look
		answers uint64 // a look
		killed  uint32 // at which look
	}{
		{"no progress", 0, 0, limit + 2}, // the first look only remembers
		{"a trickle", 1, 0, patience*limit + 1},
		{"a slow network", trickle + 1, 0, never},
		{"passed over", 1 << 20, fakeDepth, patience*limit + 1},
	} {
		l := newLink(t, 1)
		c := newFake(&l.Link)
		c.Progressed(1)
		ended := make(chan error, 1)
		c.Add(landing.Request{Request: requests(ended, 0)[0]})
		now := uint32(0)
		for c.broken == nil && now < never {
			now = l.ticks.Add(1)
			c.Progressed(k.bytes)
			c.answers += k.answers
			c.look(now, limit)
		}
		if now != k.killed || k.killed != never && !errors.Is(c.broken, transport.ErrStalled) {
			t.Errorf("%s: given up at look %d for %v", k.what, now, c.broken)
		}
		c.End(transport.ErrConnLost)
		<-ended
	}
}

// TestStall has one of two peers fall silent while it owes an answer: its
// connection alone is replaced.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connected(t, 2)
		idle, silent := l.conn(1), l.conn(0)
		ended := make(chan error, 1)
		l.Submit(requests(ended, 1))
		began := time.Now()
		err := <-ended
		if d := time.Since(began); d < l.Session.Timeout || d > 2*l.Session.Timeout {
			t.Errorf("given up after %v, the time-out is %v", d, l.Session.Timeout)
		}
		if !errors.Is(err, transport.ErrStalled) || !errors.Is(err, transport.ErrConnLost) {
			t.Error(err)
		}
		time.Sleep(maxBackoff)
		if l.conn(1) != idle || l.conn(0) == silent || l.Stats().Reconnects != 1 {
			t.Errorf("%+v", l.Stats())
		}
		l.Close()
	})
}
