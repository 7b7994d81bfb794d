package rdma

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxPartings is how many connections may have to tell their peers that they
// ended, before a client dials no more. A server counts them as connections.
const maxPartings = 1024

// parting is this process's.
var parting partings

// partings owns what is left of connections that have ended while their port
// could not carry that: an identifier of the connection manager, and nothing of
// the device. Each waits for its port on a goroutine of its own, and only the
// end of the process gives it up.
type partings struct {
	waiting atomic.Int64
	workers sync.WaitGroup
}

// farewell is how a connection tells its peer that it ended.
type farewell struct {
	port    port          // that carries it; the zero port: nothing is sent
	settle  time.Duration // that the port must have been active for
	removed <-chan struct{}
	say     func()
}

// add has f said, before it returns if that can be.
func (p *partings) add(f farewell) {
	if f.port == (port{}) || f.settle == 0 && f.port.active() {
		f.say()
		return
	}
	p.waiting.Add(1)
	p.run(func() {
		defer p.waiting.Add(-1)
		f.port.await(f.settle, f.removed)
		f.say()
	})
}

// run runs f, which waits for farewells.
func (p *partings) run(f func()) { p.workers.Go(f) }

// wait returns when nothing is left to be said.
func (p *partings) wait() { p.workers.Wait() }
