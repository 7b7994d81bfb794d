// Package closing is what becomes of files that programs have closed: which of them
// stay open at the target, for whoever opens them next, and how it is told of the
// others. It knows neither names nor sessions, and sends nothing itself.
//
// Locking: Closer.mu and Kept.mu guard their own, and are held over no call.
package closing

import (
	"context"
	"sync"
	"time"
)

// closeBatch is how many handles one message closes: as many as fit, however large
// they are.
const closeBatch = 100

// gather is how long a closed file waits for others that are closed by the same
// message: programs close a file to open the next.
const gather = time.Millisecond

// retryAfter is how long handles wait that could not be closed.
const retryAfter = 5 * time.Millisecond

// Closers is how many such messages may be under way: as many goroutines run a Closer.
const Closers = 4

// Closer tells the target of closed files.
type Closer struct {
	tell func(ctx context.Context, handles []uint64) error
	wake chan struct{} // capacity 1: handles wait to be closed

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

// NewCloser returns one that has tell tell the target: handles that it fails for are
// closed again.
func NewCloser(tell func(ctx context.Context, handles []uint64) error) *Closer {
	return &Closer{tell: tell, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Add has a handle closed. No file may be opened by it after that. That of a session
// that is gone went with it, and means nothing to the next.
func (c *Closer) Add(number uint64, isOpen bool) {
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

func (c *Closer) queue(handles ...handle) {
	c.mu.Lock()
	c.handles = append(c.handles, handles...)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run closes handles until ctx ends. Several may.
func (c *Closer) Run(ctx context.Context) {
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
			if !c.close(ctx, batch) && !sleep(ctx, retryAfter) {
				return
			}
		}
	}
}

func (c *Closer) next() []handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.handles), closeBatch)
	batch := c.handles[:n:n]
	c.handles = c.handles[n:]
	return batch
}

// close reports false if the handles have to be closed again.
func (c *Closer) close(ctx context.Context, batch []handle) bool {
	handles, files := make([]uint64, 0, len(batch)), uint64(0)
	for _, h := range batch {
		handles = append(handles, h.number)
		files += h.files()
	}
	if c.tell(ctx, handles) != nil {
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

// SoFar is how many files were closed.
func (c *Closer) SoFar() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// MoreThan waits until more files than n were closed. It returns false if none is to
// be closed any more, or ctx ends first.
func (c *Closer) MoreThan(ctx context.Context, n uint64) bool {
	c.mu.Lock()
	more, waiting, changed := c.closed > n, c.waiting > 0, c.changed
	c.mu.Unlock()
	if more || !waiting {
		return more
	}
	select {
	case <-changed:
		return c.MoreThan(ctx, n)
	case <-ctx.Done():
		return false
	}
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
