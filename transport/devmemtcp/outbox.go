package devmemtcp

import (
	"net"
	"sync"
	"time"
)

// writeTimeout is how long a client may take to accept what one write brings;
// then it is taken for dead.
const writeTimeout = 30 * time.Second

// outbox is what waits to be written to a pair. Whoever pushes while no one
// writes becomes the writer, until the box is empty. There is one queue for both
// connections: so payloads lie in the order of their headers.
type outbox struct {
	head, data net.Conn
	free       func(*batch)

	mu      sync.Mutex // guards all below; not held over I/O
	queue   []*batch
	writing bool
	err     error // why nothing is written any more

	// The writer's own:
	taken   []*batch
	headers []byte
	vector  [][]byte
	buffer  net.Buffers
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

// write writes the headers of what was taken, and then the payloads: in one
// system call each, where it can. The client has at most its credits under way,
// so the headers always fit the head's buffer, and it reads payloads whatever
// becomes of headers behind theirs.
func (o *outbox) write() error {
	o.headers, o.vector = o.headers[:0], o.vector[:0]
	for _, b := range o.taken {
		o.headers = append(o.headers, b.headers()...)
		if b.end > 0 {
			o.vector = append(o.vector, b.payload())
		}
	}
	deadline := time.Now().Add(writeTimeout)
	o.head.SetWriteDeadline(deadline)
	if _, err := o.head.Write(o.headers); err != nil || len(o.vector) == 0 {
		return err
	}
	o.data.SetWriteDeadline(deadline)
	if len(o.vector) == 1 {
		_, err := o.data.Write(o.vector[0])
		return err
	}
	o.buffer = o.vector
	_, err := o.buffer.WriteTo(o.data)
	return err
}

// fail makes what comes from now on be dropped, ends a write under way, and
// returns what failed first.
func (o *outbox) fail(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failLocked(err)
	return o.err
}

// failLocked also closes both connections, so that their readers notice.
func (o *outbox) failLocked(err error) {
	if err != nil && o.err == nil {
		o.err = err
		o.head.Close()
		o.data.Close()
	}
}
