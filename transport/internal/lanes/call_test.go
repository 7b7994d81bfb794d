package lanes

import (
	"errors"
	"slices"
	"testing"

	"hbmfs/transport"
)

const (
	readOf    = 'r'
	chainedTo = 'c'
	callOf    = 'C'
	badCall   = 'B'
	badRead   = 'b'
)

// sequence makes requests of the kinds that kinds names.
func sequence(ended chan<- error, kinds string) []*transport.Request {
	reqs := requests(ended, make([]int64, len(kinds))...)
	for i, k := range kinds {
		switch r := reqs[i]; k {
		case callOf:
			r.Call = &transport.Call{Ask: []byte{1}, Answer: make([]byte, 0, transport.MaxCall)}
		case badCall:
			r.Call = &transport.Call{Ask: make([]byte, transport.MaxCall+1), Answer: make([]byte, 0, transport.MaxCall)}
		case chainedTo:
			r.Chained = true
		case badRead:
			r.Chained, r.Off = true, -1
		}
	}
	return reqs
}

// TestCallsGoTogether submits calls and reads to three connections: calls share one,
// up to as many as share a message, and what is chained to them comes right behind
// them, or is not taken.
func TestCallsGoTogether(t *testing.T) {
	for _, c := range []struct {
		kinds    string
		accepted int
		lanes    []string // what each was given
	}{
		{"CCCC", 4, []string{"CCC", "C", ""}},
		{"CCrr", 4, []string{"CC", "r", "r"}},
		{"Cccc", 4, []string{"Cccc", "", ""}},
		{"CcCcCc", 6, []string{"CcCc", "Cc", ""}},
		{"Cccccr", 4, []string{"Cccc", "", ""}}, // no credit for the last, whose turn comes when the call has ended
		{"ccr", 3, []string{"c", "c", "r"}},     // first in its Submit, it is a read
		{"Crc", 2, []string{"C", "r", ""}},
		{"Cbc", 1, []string{"C", "", ""}},
		{"Bcr", 1, []string{"", "", ""}},
		{"rCc", 3, []string{"r", "Cc", ""}},
		{"CCCCc", 5, []string{"CCC", "Cc", ""}},
	} {
		l := connected(t, 3)
		l.cfg.Plan.Batch = 3
		reqs := sequence(make(chan error, 16), c.kinds)
		n, err := l.Submit(reqs)
		if n != c.accepted || err != nil {
			t.Errorf("%s: took %d: %v", c.kinds, n, err)
		}
		for lane, want := range c.lanes {
			var got []byte
			for slot := range l.conn(lane).Unanswered() {
				got = append(got, c.kinds[slices.Index(reqs, l.conn(lane).reqs[slot])])
			}
			if string(got) != want || l.conn(lane).flushes.Load() != int32(min(len(want), 1)) {
				t.Errorf("%s: lane %d got %q in %d flushes, want %q in one", c.kinds, lane, got, l.conn(lane).flushes.Load(), want)
			}
		}
	}
}

// TestChainedIsTold: the carrier is told what follows what, not what the caller
// wished.
func TestChainedIsTold(t *testing.T) {
	for kinds, want := range map[string]int{"Cc": 1, "CcC": 1, "ccc": 0, "Ccc": 2} {
		l := connected(t, 1)
		l.cfg.Plan.Batch = 4
		l.Submit(sequence(make(chan error, 4), kinds))
		if got := l.conn(0).chained; got != want {
			t.Errorf("%s: %d are chained, want %d", kinds, got, want)
		}
	}
}

// TestBadCalls are taken, and end with what is wrong with them.
func TestBadCalls(t *testing.T) {
	l := connected(t, 1)
	ended := make(chan error, 4)
	bad := sequence(ended, "BCC")
	bad[1].Call.Ask = nil
	bad[2].Call.Answer = make([]byte, transport.MaxCall-1)
	if n, err := l.Submit(bad); n != len(bad) || err != nil {
		t.Fatalf("took %d: %v", n, err)
	}
	for range bad {
		if err := <-ended; !errors.Is(err, transport.ErrRange) {
			t.Error(err)
		}
	}
}

// TestCallsCount: an answer is payload.
func TestCallsCount(t *testing.T) {
	l := connected(t, 1)
	ended := make(chan error, 1)
	r := sequence(ended, "C")
	l.Submit(r)
	r[0].Call.Answer = r[0].Call.Answer[:100]
	l.conn(0).answer(0, nil)
	if st := l.Stats(); <-ended != nil || st.Bytes != 100 || st.Requests != 1 || st.InFlight != 0 {
		t.Errorf("%+v", st)
	}
}
