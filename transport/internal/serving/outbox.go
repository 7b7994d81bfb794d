package serving

import (
	"sync"
	"time"
)

// WriteTimeout is how long a client may take to accept what one [Carrier.Write]
// brings; then it is taken for dead.
const WriteTimeout = 30 * time.Second

// Carrier is a transport's connections to one client.
type Carrier interface {
	// Write sends replies, in their order and within [WriteTimeout]. Each element
	// is whole ones, each header directly before its payload; the slice is
	// Write's to change, the bytes are not, and neither may be kept. It is not
	// called concurrently. An error ends the connections.
	Write(replies [][]byte) error
	// Close ends the connections, and reads and writes under way on them, from
	// any goroutine. It must not wait.
	Close()
}

// outbox is what waits to be sent to a client. Whoever pushes while no one
// writes becomes the writer, until the box is empty.
type outbox struct {
	to   Carrier
	free func(*batch)

	mu      sync.Mutex // guards all below; not held over I/O
	queue   []*batch
	writing bool
	err     error // why nothing is sent any more

	// The writer's own:
	taken  []*batch
	vector [][]byte
}

// push queues b, which is the outbox's from now on, and may write it.
func (o *outbox) push(b *batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, b)
	if o.writing {
		return
	}
	o.writing = true
	for len(o.queue) > 0 {
		o.taken, o.queue = o.queue, o.taken[:0]
		if o.err == nil {
			o.mu.Unlock()
			err := o.write()
			o.mu.Lock()
			o.failLocked(err)
		}
		for i, b := range o.taken {
			o.taken[i] = nil
			o.free(b)
		}
	}
	o.writing = false
}

func (o *outbox) write() error {
	o.vector = o.vector[:0]
	for _, b := range o.taken {
		o.vector = append(o.vector, b.bytes())
	}
	defer clear(o.vector) // none is kept
	return o.to.Write(o.vector)
}

// fail makes what comes from now on be dropped, ends a write under way, and
// returns what failed first.
func (o *outbox) fail(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failLocked(err)
	return o.err
}

// failLocked also closes the connections, so that their readers notice.
func (o *outbox) failLocked(err error) {
	if err != nil && o.err == nil {
		o.err = err
		o.to.Close()
	}
}
