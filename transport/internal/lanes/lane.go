package lanes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/transport"
)

// Waits between two attempts to connect: doubled each time, and jittered.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
)

// lane is the place of one connection of a link: what carries it on when a
// connection is lost. Its conn is nil while there is none.
type lane struct{ conn atomic.Pointer[Conn] }

// Connect opens all connections, or none, and then keeps them up until the link
// ends. It is called once. Besides the errors of [transport.Transport], it
// returns those of [Config.Dial].
func (l *Link) Connect(ctx context.Context) error {
	n := l.Session.Connections
	if n < 1 || n > MaxConnections {
		return fmt.Errorf("%s %s: %d connections: must be 1 to %d", l.cfg.Name, l.Session.Addr, n, MaxConnections)
	}
	l.lanes = make([]lane, n)
	if err := l.open(ctx); err != nil {
		return err
	}
	for i := range l.lanes {
		l.workers.Go(func() { l.lanes[i].run(l) })
	}
	l.workers.Go(l.watch)
	return nil
}

func (l *Link) open(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range l.lanes {
		g.Go(func() error {
			c, err := l.dial(ctx)
			if err == nil {
				l.lanes[i].conn.Store(c)
			}
			return err
		})
	}
	err := g.Wait()
	if err != nil {
		l.cancel()
		var retiring sync.WaitGroup
		for c := range l.up {
			retiring.Go(func() { c.End(err) })
		}
		retiring.Wait()
	}
	return err
}

// up yields the connections that are.
func (l *Link) up(yield func(*Conn) bool) {
	for i := range l.lanes {
		if c := l.lanes[i].conn.Load(); c != nil && !yield(c) {
			return
		}
	}
}

// dial opens one connection. The error wraps [transport.ErrSession],
// [transport.ErrProtocol] or [transport.ErrConnLost].
func (l *Link) dial(ctx context.Context) (*Conn, error) {
	c, err := l.cfg.Dial(ctx)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, transport.ErrSession) && !errors.Is(err, transport.ErrProtocol) {
		err = Lost(err)
	}
	return nil, fmt.Errorf("%s %s: %w", l.cfg.Name, l.Session.Addr, err)
}

// run reads the lane's connection, and each that replaces it, until the link
// ends.
func (ln *lane) run(l *Link) {
	backoff := minBackoff
	for c := ln.conn.Load(); c != nil; c = ln.redial(l, &backoff) {
		err := c.carrier.Receive()
		ln.conn.Store(nil)
		if l.ended() == nil {
			l.lost.Add(1)
		}
		c.End(err)
		if c.progress.Load() > 0 {
			backoff = minBackoff
		}
	}
}

// redial returns the next connection, or nil when the link has ended.
func (ln *lane) redial(l *Link, backoff *time.Duration) *Conn {
	for l.ctx.Err() == nil {
		if !l.pause(*backoff/2 + rand.N(*backoff/2)) {
			return nil
		}
		*backoff = min(*backoff*2, maxBackoff)
		c, err := l.dial(l.ctx)
		l.dialled(err)
		switch {
		case err == nil && ln.adopt(l, c):
			return c
		case errors.Is(err, transport.ErrSession):
			l.stop(err)
		}
	}
	return nil
}

// dialled keeps err for whoever asks why no connection is up; nil clears it.
func (l *Link) dialled(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = err
}

// adopt puts c into the lane, or closes it if the link has ended.
func (ln *lane) adopt(l *Link, c *Conn) bool {
	l.mu.Lock()
	end := l.end
	if end == nil {
		ln.conn.Store(c)
		l.reconnects.Add(1)
	}
	l.mu.Unlock()
	if end != nil {
		c.End(end)
	} else {
		l.freed()
	}
	return end == nil
}

// pause reports false if the link ended meanwhile.
func (l *Link) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}
