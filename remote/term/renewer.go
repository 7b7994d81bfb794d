package term

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/transport"
)

// Renewer is the term of one session at its mount, and asks for it anew. Methods
// may be called concurrently.
type Renewer struct {
	clock Clock
	until atomic.Int64 // of clock, in nanoseconds
	send  func(renewal uint64)

	mu    sync.Mutex
	last  uint64
	asked *Renewal // sent, and not answered
	next  *Renewal // to be sent once asked is answered
	ended bool
}

// Renewal is a question to the target. Its answer comes after the events of all
// files that had changed when it was given.
type Renewal struct {
	id   uint64
	sent time.Duration
	done chan struct{}
	ok   bool // it was answered; set before done is closed
}

// Done is closed when there is an answer, or will be none.
func (r *Renewal) Done() <-chan struct{} { return r.done }

// OK reports, once Done is closed, whether the target has answered.
func (r *Renewal) OK() bool { return r.ok }

// NewRenewer returns a Renewer that has no term. send, which may block, asks for
// one; the target's answer is to be passed on to [Renewer.Answered].
func NewRenewer(clock Clock, send func(uint64)) *Renewer {
	return &Renewer{clock: clock, send: send}
}

// Left returns how much of the term is left at a time of clock.
func (v *Renewer) Left(at time.Duration) time.Duration { return time.Duration(v.until.Load()) - at }

// Granted begins the term that an answer to what was sent then grants.
func (v *Renewer) Granted(sent time.Duration, ms uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.extend(sent, ms)
}

// extend is Granted under v.mu.
func (v *Renewer) extend(sent time.Duration, ms uint32) {
	until := int64(sent + Usable(min(time.Duration(ms)*time.Millisecond, Length)))
	if ms != 0 && !v.ended && until > v.until.Load() {
		v.until.Store(until)
	}
}

// Ask returns a renewal that is sent at a time of clock or later.
func (v *Renewer) Ask(since time.Duration) *Renewal {
	v.mu.Lock()
	if v.asked != nil && v.asked.sent >= since {
		defer v.mu.Unlock()
		return v.asked
	}
	if v.asked != nil || v.ended {
		defer v.mu.Unlock()
		return v.behind()
	}
	r := v.begin(v.make())
	v.mu.Unlock()
	v.send(r.id)
	return r
}

// behind returns the renewal that is sent next; its done is closed if none ever
// will be. v.mu is held.
func (v *Renewer) behind() *Renewal {
	if v.next == nil {
		r := v.make()
		if v.ended {
			close(r.done)
			return r
		}
		v.next = r
	}
	return v.next
}

func (v *Renewer) make() *Renewal {
	v.last++
	return &Renewal{id: v.last, done: make(chan struct{})}
}

// begin makes r the one that was asked. v.mu is held.
func (v *Renewer) begin(r *Renewal) *Renewal {
	r.sent = v.clock()
	v.asked = r
	return r
}

// AskAhead renews a term of which less than half is left, and does not wait.
func (v *Renewer) AskAhead(at time.Duration) {
	if v.Left(at) > Length/2 {
		return
	}
	v.mu.Lock()
	if v.asked != nil || v.ended {
		v.mu.Unlock()
		return
	}
	r := v.begin(v.make())
	v.mu.Unlock()
	v.send(r.id)
}

// Answered takes the target's answer to a renewal.
func (v *Renewer) Answered(id uint64, ms uint32) error {
	v.mu.Lock()
	r := v.asked
	if r == nil || r.id != id {
		v.mu.Unlock()
		return fmt.Errorf("%w: an answer to renewal %d, which was not asked", transport.ErrProtocol, id)
	}
	v.extend(r.sent, ms)
	r.ok = true
	close(r.done)
	next := v.next
	v.asked, v.next = nil, nil
	if next != nil {
		v.begin(next)
	}
	v.mu.Unlock()
	if next != nil {
		v.send(next.id)
	}
	return nil
}

// End ends the term, and fails what was asked.
func (v *Renewer) End() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
	v.until.Store(0)
	for _, r := range []*Renewal{v.asked, v.next} {
		if r != nil {
			close(r.done)
		}
	}
	v.asked, v.next = nil, nil
}

// SilentSince returns when the renewal was sent that is not answered yet; ok is
// false if there is none.
func (v *Renewer) SilentSince() (at time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asked == nil {
		return 0, false
	}
	return v.asked.sent, true
}
