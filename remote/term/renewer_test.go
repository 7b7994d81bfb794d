package term

import (
	"errors"
	"testing"
	"time"

	"hbmfs/transport"
)

const termMs = uint32(Length / time.Millisecond)

// vouching is a Renewer at a time that the test sets, and what it has sent.
type vouching struct {
	*Renewer
	now  time.Duration
	sent []uint64
}

func newVouching() *vouching {
	v := &vouching{now: time.Hour}
	v.Renewer = NewRenewer(func() time.Duration { return v.now }, func(id uint64) { v.sent = append(v.sent, id) })
	return v
}

func isDone(r *Renewal) bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// TestTermIsCountedFromTheQuestion, with a margin, and never gets shorter by a
// later answer to an earlier one.
func TestTermIsCountedFromTheQuestion(t *testing.T) {
	v := newVouching()
	if v.Left(v.now) > 0 {
		t.Fatalf("%v left of no term", v.Left(v.now))
	}
	r := v.Ask(v.now)
	asked := v.now
	v.now += 100 * time.Millisecond
	if err := v.Answered(r.id, termMs); err != nil {
		t.Fatal(err)
	}
	want := asked + Length*9/10
	if got := v.now + v.Left(v.now); got != want {
		t.Errorf("the term ends %v after the question, want %v", got-asked, want-asked)
	}
	v.Granted(asked-time.Second, termMs)
	v.Granted(v.now, 0)
	if got := v.now + v.Left(v.now); got != want {
		t.Errorf("the term ends %v after the question by now", got-asked)
	}
	v.Granted(v.now, 1<<31)
	if v.Left(v.now) > Length {
		t.Errorf("a target granted %v", v.Left(v.now))
	}
}

// TestRenewalsAreAskedAfter: who asks while a question is under way gets the
// answer to the next.
func TestRenewalsAreAskedAfter(t *testing.T) {
	v := newVouching()
	first := v.Ask(v.now)
	if same := v.Ask(v.now); same != first {
		t.Errorf("what was asked at the moment is asked again")
	}
	v.now++
	second, third := v.Ask(v.now), v.Ask(v.now)
	if second == first || second != third || len(v.sent) != 1 {
		t.Fatalf("renewals %d, %d and %d; sent %v", first.id, second.id, third.id, v.sent)
	}
	if err := v.Answered(second.id, termMs); !errors.Is(err, transport.ErrProtocol) {
		t.Errorf("an answer to what was not sent: %v", err)
	}
	if err := v.Answered(first.id, 0); err != nil {
		t.Fatal(err)
	}
	if !isDone(first) || !first.ok || isDone(second) || len(v.sent) != 2 {
		t.Fatalf("first done %v, second %v; sent %v", isDone(first), isDone(second), v.sent)
	}
	if err := v.Answered(second.id, termMs); err != nil || !second.ok {
		t.Fatal(err)
	}
	if v.AskAhead(v.now); len(v.sent) != 2 {
		t.Error("asked ahead of a term that has begun")
	}
	v.now += Length / 2
	v.AskAhead(v.now)
	v.AskAhead(v.now)
	if len(v.sent) != 3 {
		t.Errorf("sent %v ahead of a term's end", v.sent)
	}
}

// TestRenewalsEnd: those who wait learn that nobody will answer, and there is no
// term left.
func TestRenewalsEnd(t *testing.T) {
	v := newVouching()
	v.Granted(v.now, termMs)
	asked, behind := v.Ask(v.now), v.Ask(v.now+1)
	v.End()
	v.Granted(v.now, termMs)
	late := v.Ask(v.now)
	for _, r := range []*Renewal{asked, behind, late} {
		if !isDone(r) || r.ok {
			t.Errorf("renewal %d: done %v, answered %v", r.id, isDone(r), r.ok)
		}
	}
	if v.Left(v.now) > 0 || len(v.sent) != 1 {
		t.Errorf("%v left; sent %v", v.Left(v.now), v.sent)
	}
}
