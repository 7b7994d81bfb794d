package inproc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// credits is how many requests a link takes at a time, queued ones included.
const credits = 128

// workers is how many reads of the source a link has under way. A worker that
// copies keeps a CPU busy, one that waits for storage doesn't: twice as many as
// CPUs keep both going. For what is in the page cache, 1 to 8 a CPU measured
// alike, within 5 % of as many goroutines that pread; half of that halved it.
func workers() int { return max(2*runtime.GOMAXPROCS(0), 4) }

type link struct {
	source  transport.Source
	mems    landing.Set
	queue   chan *task // as long as there are credits: sending never blocks
	workers sync.WaitGroup
	open    sync.WaitGroup // tasks not done

	closed atomic.Bool // set under mu
	mu     sync.Mutex  // guards free, and that nothing is queued once closed
	free   []*task

	taken, finished, failed, bytes atomic.Int64
}

// task is a credit, and the request that has it.
type task struct {
	link *link
	req  *transport.Request
	pad  landing.Pad
}

func newLink(source transport.Source) *link {
	l := &link{source: source, queue: make(chan *task, credits)}
	for range credits {
		t := &task{link: l}
		t.pad.Init(t.finish)
		l.free = append(l.free, t)
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
	return l.mems.Attach(mem)
}

var errClosed = fmt.Errorf("inproc: %w", transport.ErrClosed)

func (l *link) Submit(reqs []*transport.Request) (accepted int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return 0, errClosed
	}
	for _, r := range reqs {
		n := len(l.free)
		if n == 0 {
			break
		}
		t := l.free[n-1]
		l.free = l.free[:n-1]
		t.req = r
		l.open.Add(1)
		l.taken.Add(1)
		l.queue <- t
		accepted++
	}
	return accepted, nil
}

// check returns why r can't be carried.
func (l *link) check(r *transport.Request) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if err := l.mems.Check(r.Dst); err != nil {
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

// Close fails what is queued, and waits for the reads that are under way.
func (l *link) Close() error {
	l.mu.Lock()
	if !l.closed.Swap(true) {
		close(l.queue)
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

// run reads the payload to where it belongs, or to where it is copied from.
func (t *task) run() {
	err := t.link.check(t.req)
	if err == nil {
		err = t.read()
	}
	if err != nil {
		t.pad.Abort()
		t.finish(err)
		return
	}
	t.pad.Commit()
}

func (t *task) read() error {
	err := t.link.source.Read(t.req.File, t.req.Off, t.pad.Begin(t.req.Dst), true)
	if err == nil || promised(err) {
		return err
	}
	return fmt.Errorf("%w: %w", transport.ErrSource, err)
}

// promised reports whether err is one that a source may return, as it is.
func promised(err error) bool {
	return errors.Is(err, transport.ErrStale) || errors.Is(err, transport.ErrRange) ||
		errors.Is(err, transport.ErrSource) || errors.Is(err, transport.ErrUnknownFile)
}

// finish gives the credit back and ends the request.
func (t *task) finish(err error) {
	l, r := t.link, t.req
	res := transport.Result{Why: transport.WhyLocalSource}
	if err != nil {
		res.Err = fmt.Errorf("inproc: %d bytes at %d of file %d: %w", r.Dst.Len, r.Off, r.File.Handle, err)
		l.failed.Add(1)
	} else {
		res.Path, res.HostCopies = transport.PathHost, 1
		if r.Dst.Mem.Bytes() == nil {
			res.DeviceCopies = 1
		}
		l.bytes.Add(r.Dst.Len)
	}
	l.finished.Add(1)
	t.req = nil
	l.mu.Lock()
	l.free = append(l.free, t)
	l.mu.Unlock()
	r.Done(res)
	l.open.Done()
}
