package serving

import (
	"context"
	"sync"
	"sync/atomic"
)

const (
	// maxWorkers is how many reads of slow storage one connection may have under
	// way.
	maxWorkers = 16
	// maxQueued is how many more may wait: a client within its credits never keeps
	// whoever takes its requests from seeing that it left.
	maxQueued = 32
)

// Pool is the workers that serve a connection's requests R which take waiting for
// storage. It starts a worker where all are busy.
type Pool[R any] struct {
	ctx      context.Context
	serve    func(R)
	jobs     chan R
	unserved atomic.Int32
	wg       sync.WaitGroup

	mu      sync.Mutex // guards workers; not held while anything is waited for
	workers int
}

// NewPool returns a pool without workers. They call serve, which must return soon
// after ctx ends, and is not called any more then.
func NewPool[R any](ctx context.Context, serve func(R)) *Pool[R] {
	return &Pool[R]{ctx: ctx, serve: serve, jobs: make(chan R, maxQueued)}
}

// Hand gives r to a worker. It waits while more than maxQueued wait for one; the
// end of the context drops r.
func (p *Pool[R]) Hand(r R) {
	p.grow()
	select {
	case p.jobs <- r:
	case <-p.ctx.Done():
	}
}

// grow counts a request, and starts a worker for it where all are busy.
func (p *Pool[R]) grow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unserved.Add(1) > int32(p.workers) && p.workers < maxWorkers {
		p.workers++
		p.wg.Go(p.work)
	}
}

// Busy reports, to a worker, whether more than its own request is to be served.
func (p *Pool[R]) Busy() bool { return p.unserved.Load() > 1 }

func (p *Pool[R]) work() {
	for r := range p.jobs {
		if p.ctx.Err() == nil {
			p.serve(r)
		}
		p.unserved.Add(-1)
	}
}

// Close returns when no worker is left. The context has ended, and Hand is not
// called any more.
func (p *Pool[R]) Close() {
	close(p.jobs)
	p.wg.Wait()
}
