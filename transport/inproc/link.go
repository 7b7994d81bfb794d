package inproc

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// credits is how many requests a link takes at a time, queued ones included;
// plainCredits are those for plain reads, which come on top.
const (
	credits      = 128
	plainCredits = 64
)

// workers is how many reads and calls of the source a link has under way. A worker that
// copies keeps a CPU busy, one that waits for storage doesn't: twice as many as
// CPUs keep both going. For what is in the page cache, 1 to 8 a CPU measured
// alike, within 5 % of as many goroutines that pread; half of that halved it.
func workers() int { return max(2*runtime.GOMAXPROCS(0), 4) }

type link struct {
	ctx     context.Context // of what the source is asked; ends with Close
	cancel  context.CancelFunc
	source  transport.Source
	mems    landing.Set
	queue   chan *task // as long as there are credits: sending never blocks
	workers sync.WaitGroup
	open    sync.WaitGroup // tasks not done
	plain   chan *task     // free ones for plain reads
	limit   time.Duration  // of a plain read

	closed atomic.Bool // set under mu
	mu     sync.Mutex  // guards free, what is chained to a call, and that nothing is queued once closed
	free   []*task

	taken, finished, failed, bytes atomic.Int64
}

func newLink(source transport.Source, timeout time.Duration) *link {
	l := &link{
		source: source,
		queue:  make(chan *task, credits+plainCredits),
		plain:  make(chan *task, plainCredits),
		limit:  landing.ReadLimit(timeout),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for range credits {
		l.free = append(l.free, l.newTask())
	}
	for range plainCredits {
		l.plain <- l.newTask()
	}
	for range workers() {
		l.workers.Go(l.work)
	}
	return l
}

func (l *link) Attach(_ context.Context, mem transport.Memory) (transport.Attachment, error) {
	if l.closed.Load() {
		return nil, errClosed
	}
	return l.mems.Attach(mem, plan)
}

var errClosed = fmt.Errorf("inproc: %w", transport.ErrClosed)

func (l *link) Submit(reqs []*transport.Request) (accepted int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return 0, errClosed
	}
	var last *task // the latest call's, or of the reads chained to it
	for _, r := range reqs {
		n := len(l.free)
		if n == 0 {
			break
		}
		t := l.free[n-1]
		l.free = l.free[:n-1]
		l.take(t, landing.Request{Request: r})
		accepted++
		switch {
		case r.Call != nil:
			l.queue <- t
			last = t
		case r.Chained && last != nil:
			last.next = t
			last = t
		default:
			l.queue <- t
		}
	}
	return accepted, nil
}

// take has t carry r out, once it is queued.
func (l *link) take(t *task, r landing.Request) {
	t.req = r
	l.open.Add(1)
	l.taken.Add(1)
}

// enqueue reports whether t is queued: not if the link is closed.
func (l *link) enqueue(t *task) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return false
	}
	l.queue <- t
	return true
}

// check returns why r can't be carried.
func (l *link) check(r landing.Request) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if err := l.mems.Check(r); err != nil {
		return err
	}
	if r.Dst.Len > landing.Largest || r.Off < 0 || r.Off > math.MaxInt64-r.Dst.Len {
		return transport.ErrRange
	}
	return nil
}

func (l *link) Stats() transport.LinkStats {
	finished := l.finished.Load()
	s := transport.LinkStats{
		Requests: finished,
		Errors:   l.failed.Load(),
		Bytes:    l.bytes.Load(),
		InFlight: max(l.taken.Load()-finished, 0),
	}
	if !l.closed.Load() {
		s.Connections = 1
	}
	return s
}

// Close fails what is queued or chained, and ends what is under way.
func (l *link) Close() error {
	l.mu.Lock()
	if !l.closed.Swap(true) {
		close(l.queue)
		l.cancel()
	}
	l.mu.Unlock()
	l.workers.Wait()
	l.open.Wait()
	return nil
}

func (l *link) work() {
	for t := range l.queue {
		t.run()
	}
}
