package hca

import (
	"sync"
	"sync/atomic"
	"time"
)

// Disconnects are this process's.
var Disconnects DeferredDisconnects

// DeferredDisconnects are what is left of connections that have ended while their
// port could not carry that: an identifier of the connection manager, and nothing
// of the device. Each waits for its port on a goroutine of its own, and only the
// end of the process gives it up.
type DeferredDisconnects struct {
	waiting atomic.Int64
	workers sync.WaitGroup
}

// Disconnect is how a connection tells its peer that it ended.
type Disconnect struct {
	Port    Port          // that carries it; the zero Port: nothing is sent
	Settle  time.Duration // that the port must have been active for: see [SettleTime]
	Removed <-chan struct{}
	Send    func()
}

// Add has d sent, before it returns if that can be.
func (p *DeferredDisconnects) Add(d Disconnect) {
	if d.Port == (Port{}) || d.Settle == 0 && d.Port.Active() {
		d.Send()
		return
	}
	p.waiting.Add(1)
	p.Run(func() {
		defer p.waiting.Add(-1)
		d.Port.await(d.Settle, d.Removed)
		d.Send()
	})
}

// Waiting is how many are yet to be sent.
func (p *DeferredDisconnects) Waiting() int64 { return p.waiting.Load() }

// Run runs f, which waits for disconnects.
func (p *DeferredDisconnects) Run(f func()) { p.workers.Go(f) }

// Wait returns when none is left to be sent, and all that Run was given has
// returned.
func (p *DeferredDisconnects) Wait() { p.workers.Wait() }
