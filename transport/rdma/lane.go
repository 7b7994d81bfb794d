package rdma

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"hbmfs/transport"
)

// Waits between two attempts to connect: doubled each time, and jittered.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
)

// lane is the place of one connection of a link: what carries it on when a
// connection is lost. Its conn is nil while there is none.
type lane struct{ conn atomic.Pointer[conn] }

// run reads the lane's connection, and each that replaces it, until the link
// ends.
func (ln *lane) run(l *link) {
	backoff := minBackoff
	for c := ln.conn.Load(); c != nil; c = ln.redial(l, &backoff) {
		err := c.receive()
		ln.conn.Store(nil)
		c.retire(err)
		if c.progress.Load() > 0 {
			backoff = minBackoff
		}
	}
}

// redial returns the next connection, or nil when the link has ended.
func (ln *lane) redial(l *link, backoff *time.Duration) *conn {
	for l.ctx.Err() == nil {
		if !l.pause(*backoff/2 + rand.N(*backoff/2)) {
			return nil
		}
		*backoff = min(*backoff*2, maxBackoff)
		c, err := l.dial(l.ctx)
		switch {
		case err == nil && ln.adopt(l, c):
			return c
		case errors.Is(err, transport.ErrSession):
			l.stop(err)
		}
	}
	return nil
}

// adopt puts c into the lane, or closes it if the link has ended.
func (ln *lane) adopt(l *link, c *conn) bool {
	l.mu.Lock()
	end := l.end
	if end == nil {
		ln.conn.Store(c)
		l.reconnects.Add(1)
	}
	l.mu.Unlock()
	if end != nil {
		c.retire(end)
	}
	return end == nil
}

// pause reports false if the link ended meanwhile.
func (l *link) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}
