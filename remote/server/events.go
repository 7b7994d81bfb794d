package server

import (
	"errors"
	"sync"
	"time"

	"hbmfs/remote/term"
	"hbmfs/remote/wire"
)

// outbox holds the events that a session's mount has not acknowledged yet, and
// until when the mount may vouch for what it has open.
type outbox struct {
	clock term.Clock

	mu      sync.Mutex
	last    uint64
	pending []*wire.Event
	unacked map[uint64]chan struct{} // nil once closed
	ready   chan struct{}            // capacity 1: pending is not empty
	renewed int                      // answers to renewals in pending
	until   time.Duration            // of clock: the mount's term
	doubted bool                     // no term before it has acknowledged something
	crowded bool                     // pending says so
}

// maxRenewals is how many renewals may wait to be answered. A mount asks one after
// another.
const maxRenewals = 16

// errRenewals ends the session of who asks and does not listen.
var errRenewals = errors.New("its mount asks for terms, and does not take the answers")

func newOutbox(clock term.Clock) *outbox {
	return &outbox{clock: clock, unacked: make(map[uint64]chan struct{}), ready: make(chan struct{}, 1)}
}

// notice is an event that was posted to a session.
type notice struct {
	acked  <-chan struct{} // closed once the mount has acknowledged it; may be nil
	posted time.Duration
	until  time.Duration // when the term ends that the mount had then
}

// post queues an event. A mount that is gone can't acknowledge it, but may be
// alive and vouch.
func (o *outbox) post(handle uint64, reason string) notice {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := notice{posted: o.clock(), until: o.until}
	if o.unacked != nil {
		n.acked = o.ask(&wire.Event{Handle: handle, Reason: reason})
	}
	return n
}

// maxRecalled bounds how many names one event recalls.
const maxRecalled = 1 << 12

// recall queues that the name of a handle is not delegated any more, in the event of
// others where that was not sent yet.
func (o *outbox) recall(handle uint64) notice {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := notice{posted: o.clock(), until: o.until}
	if o.unacked == nil {
		return n
	}
	if last := len(o.pending) - 1; last >= 0 {
		if e := o.pending[last]; len(e.Recalled) > 0 && len(e.Recalled) < maxRecalled {
			e.Recalled = append(e.Recalled, handle)
			n.acked = o.unacked[e.Id]
			return n
		}
	}
	n.acked = o.ask(&wire.Event{Recalled: []uint64{handle}})
	return n
}

// ask queues an event that is acknowledged. o.mu is held.
func (o *outbox) ask(e *wire.Event) (acked <-chan struct{}) {
	done := make(chan struct{})
	o.last++
	o.unacked[o.last] = done
	e.Id = o.last
	o.queue(e)
	return done
}

// queue adds an event to those that are to be sent. o.mu is held.
func (o *outbox) queue(e *wire.Event) {
	o.pending = append(o.pending, e)
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// tell queues an event that is not acknowledged.
func (o *outbox) tell(e *wire.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.unacked != nil {
		o.queue(e)
	}
}

// crowd tells that there is little room for open files, once at a time.
func (o *outbox) crowd() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.unacked != nil && !o.crowded {
		o.crowded = true
		o.queue(&wire.Event{Crowded: true})
	}
}

// doubt lets the mount have no further term until it has acknowledged an event,
// and posts one that is about nothing.
func (o *outbox) doubt() {
	o.mu.Lock()
	was := o.doubted
	o.doubted = true
	o.mu.Unlock()
	if !was {
		o.post(0, "")
	}
}

// renew answers a renewal, behind all events so far.
func (o *outbox) renew(id uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.unacked == nil:
		return nil
	case o.renewed == maxRenewals:
		return errRenewals
	}
	o.renewed++
	o.queue(&wire.Event{Renewed: id, TermMs: o.extend()})
	return nil
}

// grant returns a term for an answer that may overtake events: 0 while there are
// some that the mount has not acknowledged.
func (o *outbox) grant() (ms uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.unacked == nil || len(o.unacked) > 0 {
		return 0
	}
	return o.extend()
}

// extend begins a term, unless the mount is doubted. o.mu is held.
func (o *outbox) extend() (ms uint32) {
	if o.doubted {
		return 0
	}
	o.until = o.clock() + term.Length
	return uint32(term.Length.Milliseconds())
}

// forgo ends the mount's term: it has said that it vouches for nothing more.
func (o *outbox) forgo() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.until = 0
	for id, acked := range o.unacked {
		delete(o.unacked, id)
		close(acked)
	}
}

// close is for when nobody is left to tell. It returns how long the mount may
// still vouch.
func (o *outbox) close() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending, o.unacked = nil, nil
	return o.until - o.clock()
}

func (o *outbox) ack(id uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if acked, ok := o.unacked[id]; ok {
		delete(o.unacked, id)
		close(acked)
		o.doubted = false
	}
}

func (o *outbox) take() []*wire.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	events := o.pending
	o.pending, o.renewed, o.crowded = nil, 0, false
	return events
}

// settle returns once the mount can't vouch for the file any more: it has
// acknowledged, or its term has passed.
func (n notice) settle(clock term.Clock) { n.await(clock, n.until) }

// ignored reports whether a mount that held up a writer has not acknowledged
// within a whole term. It waits for that.
func (n notice) ignored(clock term.Clock) bool {
	return n.until > n.posted && !n.await(clock, n.posted+term.Length)
}

// await returns true once the mount has acknowledged, or false at a time of clock.
func (n notice) await(clock term.Clock, end time.Duration) bool {
	for {
		select {
		case <-n.acked:
			return true
		default:
		}
		left := end - clock()
		if left <= 0 {
			return false
		}
		over := time.NewTimer(left)
		select {
		case <-n.acked:
		case <-over.C:
		}
		over.Stop()
	}
}
