package target

import (
	"sync"

	"hbmfs/remote/wire"
)

// outbox holds the events that a session's mount has not acknowledged yet.
type outbox struct {
	mu      sync.Mutex
	live    bool // a stream is attached
	last    uint64
	pending []*wire.Event
	unacked map[uint64]chan struct{}
	ready   chan struct{} // capacity 1: pending is not empty
}

// acked is what post returns when there is nothing to wait for.
var acked = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// post queues an event, and returns what is closed once the mount has answered
// it or is gone.
func (o *outbox) post(handle uint64, reason string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.live {
		return acked
	}
	o.last++
	done := make(chan struct{})
	o.unacked[o.last] = done
	o.pending = append(o.pending, &wire.Event{Id: o.last, Handle: handle, Reason: reason})
	select {
	case o.ready <- struct{}{}:
	default:
	}
	return done
}

// attach begins a stream. It returns false if there is one.
func (o *outbox) attach() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.live {
		return false
	}
	o.live = true
	o.unacked = make(map[uint64]chan struct{})
	return true
}

// detach ends the stream: nobody is left to answer.
func (o *outbox) detach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live = false
	o.pending = nil
	for _, done := range o.unacked {
		close(done)
	}
	o.unacked = nil
}

func (o *outbox) ack(id uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if done, ok := o.unacked[id]; ok {
		delete(o.unacked, id)
		close(done)
	}
}

func (o *outbox) take() []*wire.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	events := o.pending
	o.pending = nil
	return events
}
