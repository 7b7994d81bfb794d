package tcp

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
	// that makes progress otherwise.
	patience = 3
)

// stall is what the watchdog remembers of a connection.
type stall struct {
	progress uint64
	looks    uint32 // in a row without progress while the peer was waited for
}

// watch gives up connections whose peer stalls, until the link ends. It costs a
// request nothing but a look at the link's tick.
func (l *link) watch() {
	interval := max(l.session.Timeout/looksPerTimeout, shortestInterval)
	limit := uint32((l.session.Timeout + interval - 1) / interval)
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-t.C:
		}
		now := l.ticks.Add(1)
		for i := range l.lanes {
			if c := l.lanes[i].conn.Load(); c != nil {
				c.look(now, limit)
			}
		}
	}
}

// look kills the connection if its peer made no progress for limit looks, or has
// owed an answer for patience times as long.
func (c *conn) look(now, limit uint32) {
	waiting, oldest := c.owed(now)
	progress := c.progress.Load()
	if waiting == 0 || progress != c.stall.progress {
		c.stall = stall{progress: progress}
	} else {
		c.stall.looks++
	}
	if c.stall.looks > limit || oldest > patience*limit {
		c.kill(fmt.Errorf("%w: %w: %d requests without an answer, time-out %v",
			transport.ErrConnLost, transport.ErrStalled, waiting, c.link.session.Timeout))
	}
}

// owed returns how many answers the peer owes, and for how many ticks.
func (c *conn) owed(now uint32) (waiting int, oldest uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.slots {
		if s := &c.slots[i]; s.state == slotWaiting {
			waiting++
			oldest = max(oldest, now-s.issued)
		}
	}
	return waiting, oldest
}
