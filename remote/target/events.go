package target

import (
	"sync"

	"hbmfs/remote/wire"
)

// outbox holds the events that a session's mount has not acknowledged yet.
type outbox struct {
	mu      sync.Mutex
	last    uint64
	pending []*wire.Event
	unacked map[uint64]chan struct{} // nil once closed
	ready   chan struct{}            // capacity 1: pending is not empty
}

func newOutbox() *outbox {
	return &outbox{unacked: make(map[uint64]chan struct{}), ready: make(chan struct{}, 1)}
}

// post queues an event, and returns what is closed once the mount has answered
// it or is gone.
func (o *outbox) post(handle uint64, reason string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	done := make(chan struct{})
	if o.unacked == nil {
		close(done)
		return done
	}
	o.last++
	o.unacked[o.last] = done
	o.pending = append(o.pending, &wire.Event{Id: o.last, Handle: handle, Reason: reason})
	select {
	case o.ready <- struct{}{}:
	default:
	}
	return done
}

// close is for when nobody is left to answer.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
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
