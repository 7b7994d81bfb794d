package tcp

import (
	"net"
	"sync"
	"time"
)

// writeTimeout is how long a client may take to accept what one write brings;
// then it is taken for dead.
const writeTimeout = 30 * time.Second

// outbox is what waits to be written to a connection. Whoever pushes while no
// one writes becomes the writer, until the box is empty.
type outbox struct {
	nc, raw net.Conn
	free    func(*batch)

	mu      sync.Mutex // guards all below; not held over I/O
	queue   []*batch
	writing bool
	err     error // why nothing is written any more

	// The writer's own:
	taken  []*batch
	vector [][]byte
	buffer net.Buffers
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

// write writes what was taken, in one system call where it can.
func (o *outbox) write() error {
	o.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if len(o.taken) == 1 {
		_, err := o.nc.Write(o.taken[0].bytes())
		return err
	}
	o.vector = o.vector[:0]
	for _, b := range o.taken {
		o.vector = append(o.vector, b.bytes())
	}
	o.buffer = o.vector
	_, err := o.buffer.WriteTo(o.nc)
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

// failLocked also closes the connection, so that its reader notices.
func (o *outbox) failLocked(err error) {
	if err != nil && o.err == nil {
		o.err = err
		o.raw.Close()
	}
}
