package serving

import (
	"slices"
	"sync"
)

// Outbox is what waits to be sent to a client, in order. Whoever flushes while
// nobody sends does the sending, until the box is empty or what was sent has no
// room for more.
type Outbox[T any] struct {
	send func([]T)

	mu      sync.Mutex // guards all below; not held over send
	idle    sync.Cond  // nobody sends any more
	queue   []T
	taken   []T // the sender's own
	room    int
	sending bool
}

// NewOutbox returns an empty outbox. At most room items are sent and not yet known
// to be done with: see [Outbox.Sent]. send gets each item once, also when the
// connection has ended; it is not called concurrently, and the slice is not its to
// keep.
func NewOutbox[T any](room int, send func([]T)) *Outbox[T] {
	o := &Outbox[T]{send: send, room: room}
	o.idle.L = &o.mu
	return o
}

// Push queues items that are sent by the next flush.
func (o *Outbox[T]) Push(items ...T) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, items...)
}

// Sent makes room for n more.
func (o *Outbox[T]) Sent(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.room += n
}

// Flush sends what there is room for, unless someone is at it, who then will.
func (o *Outbox[T]) Flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sending {
		return
	}
	o.sending = true
	for o.take() {
		o.mu.Unlock()
		o.send(o.taken)
		o.mu.Lock()
		clear(o.taken)
	}
	o.sending = false
	o.idle.Broadcast()
}

// take moves what can be sent now from the queue to taken, and reports whether
// that is anything.
func (o *Outbox[T]) take() bool {
	n := min(len(o.queue), o.room)
	o.room -= n
	o.taken = append(o.taken[:0], o.queue[:n]...)
	o.queue = slices.Delete(o.queue, 0, n)
	return n > 0
}

// Wait returns once nobody sends.
func (o *Outbox[T]) Wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.sending {
		o.idle.Wait()
	}
}
