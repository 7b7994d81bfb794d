package remote

import (
	"context"
	"sync"
	"time"

	"hbmfs/remote/wire"
)

// closeBatch is how many handles one ask closes: as many as fit, however large
// they are.
const closeBatch = 100

// gather is how long a closed file waits for others that are closed by the same
// message: programs close a file to open the next.
const gather = time.Millisecond

// closers is how many such asks may be under way.
const closers = 4

// closer tells the target of closed files.
type closer struct {
	memories *memories
	wake     chan struct{} // capacity 1: handles wait to be closed

	mu      sync.Mutex // guards all below
	handles []handle   // not asked for yet
	waiting uint64     // open files that are not closed yet
	closed  uint64     // and that are
	changed chan struct{}
}

// handle is one to be closed. Where the open failed, or nobody waited for it, it may
// be of no file.
type handle struct {
	number uint64
	isOpen bool
}

func newCloser(m *memories) *closer {
	return &closer{memories: m, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// add has a handle closed. No file may be opened by it after that. That of a session
// that is gone went with it, and means nothing to the next.
func (c *closer) add(number uint64, isOpen bool) {
	h := handle{number, isOpen}
	c.mu.Lock()
	c.waiting += h.files()
	c.mu.Unlock()
	c.queue(h)
}

func (h handle) files() uint64 {
	if h.isOpen {
		return 1
	}
	return 0
}

func (c *closer) queue(handles ...handle) {
	c.mu.Lock()
	c.handles = append(c.handles, handles...)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run closes handles until ctx ends. Several may.
func (c *closer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		if !sleep(ctx, gather) {
			return
		}
		for batch := c.next(); len(batch) > 0; batch = c.next() {
			if !c.close(ctx, batch) && !sleep(ctx, minRetry) {
				return
			}
		}
	}
}

func (c *closer) next() []handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.handles), closeBatch)
	batch := c.handles[:n:n]
	c.handles = c.handles[n:]
	return batch
}

// close reports false if the handles have to be closed again.
func (c *closer) close(ctx context.Context, batch []handle) bool {
	req, files := new(wire.CloseRequest), uint64(0)
	for _, h := range batch {
		req.Handles = append(req.Handles, h.number)
		files += h.files()
	}
	if c.memories.ask(ctx, newAsk(&wire.Ask{What: &wire.Ask_Close{Close: req}})) != nil {
		c.queue(batch...)
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= files
	c.closed += files
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// soFar is how many files were closed.
func (c *closer) soFar() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// moreThan waits until more files than n were closed. It returns false if none is to
// be closed any more, or ctx ends first.
func (c *closer) moreThan(ctx context.Context, n uint64) bool {
	c.mu.Lock()
	more, waiting, changed := c.closed > n, c.waiting > 0, c.changed
	c.mu.Unlock()
	if more || !waiting {
		return more
	}
	select {
	case <-changed:
		return c.moreThan(ctx, n)
	case <-ctx.Done():
		return false
	}
}
