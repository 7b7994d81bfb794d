package lanes

import (
	"fmt"
	"time"

	"hbmfs/transport"
)

// The watchdog looks this often within a session's time-out, but not more often
// than its shortest interval.
const (
	looksPerTimeout  = 8
	shortestInterval = time.Millisecond
	// patience is how many time-outs a single request may take on a connection
	// that makes progress otherwise. After that, the connection must have brought
	// trickle bytes a look since, for a slow network, and not twice the answers
	// that can be owed at a time, for a peer that passes one request over.
	patience = 3
	trickle  = 64 << 10
)

// stall is what the watchdog remembers of a connection.
type stall struct {
	progress uint64
	looks    uint32 // in a row without progress while the peer was waited for
}

// watch gives up connections whose peer stalls, until the link ends. It costs a
// request nothing but a look at the link's tick.
func (l *Link) watch() {
	interval := max(l.Session.Timeout/looksPerTimeout, shortestInterval)
	limit := uint32((l.Session.Timeout + interval - 1) / interval)
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-t.C:
		}
		now := l.ticks.Add(1)
		for c := range l.up {
			c.look(now, limit)
		}
	}
}

// look kills the connection if its peer made no progress for limit looks, or
// does not get to a request for patience times as long.
func (c *Conn) look(now, limit uint32) {
	progress := c.progress.Load()
	waiting, starved := c.owed(now, progress, patience*limit)
	if waiting == 0 || progress != c.stall.progress {
		c.stall = stall{progress: progress}
	} else {
		c.stall.looks++
	}
	if c.stall.looks > limit || starved {
		c.Kill(fmt.Errorf("%w: %w: %d requests without an answer, time-out %v",
			transport.ErrConnLost, transport.ErrStalled, waiting, c.link.Session.Timeout))
	}
}

// owed returns how many answers the peer owes, and whether one of them for more
// than limit ticks without a good reason.
func (c *Conn) owed(now uint32, progress uint64, limit uint32) (waiting int, starved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.marks {
		m := &c.marks[i]
		if !m.waiting {
			continue
		}
		waiting++
		age := now - m.tick
		slow := progress-m.progress < uint64(age)*trickle
		passedOver := c.answers-m.answers >= 2*uint64(len(c.marks))
		starved = starved || age > limit && (slow || passedOver)
	}
	return waiting, starved
}
