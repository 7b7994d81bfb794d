package limits

import (
	"context"
	"slices"
)

// waiter is one call of Wait, and how much it waits for.
type waiter struct {
	n       int64
	granted chan struct{} // of capacity 1
}

// Wait takes n, and waits for it where Acquire would refuse. Clients are served in
// turn, each in the order of its calls. The error is ctx's, and nothing is taken
// then, or an [Error] where no waiting would help.
func (s *Share) Wait(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l := s.limit
	l.mu.Lock()
	if s.tryLocked(n) {
		l.mu.Unlock()
		return nil
	}
	if why := s.never(n); why != fits {
		err := s.refusal(why)
		l.mu.Unlock()
		err.Log()
		return err
	}
	w := &waiter{n: n, granted: make(chan struct{}, 1)}
	s.queue = append(s.queue, w)
	s.ready()
	l.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	if !s.withdraw(w) {
		<-w.granted
		s.Release(n)
	}
	return ctx.Err()
}

// never judges n more than nothing.
func (s *Share) never(n int64) verdict {
	switch {
	case s.most > 0 && n > s.most:
		return share
	case n > s.limit.All:
		return all
	case s.limit.Each > 0 && n > s.limit.Each && s.client.name != "":
		return each
	}
	return fits
}

// withdraw reports false if w was granted already.
func (s *Share) withdraw(w *waiter) bool {
	s.limit.mu.Lock()
	defer s.limit.mu.Unlock()
	i := slices.Index(s.queue, w)
	if i < 0 {
		return false
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	s.unready()
	s.ready()
	s.limit.serve()
	return true
}

// ready has the share wait for its turn if it has something to wait for, and room
// for that.
func (s *Share) ready() {
	if len(s.queue) == 0 || s.over(s.queue[0].n) == share {
		return
	}
	if !slices.Contains(s.client.turn, s) {
		s.client.turn = append(s.client.turn, s)
	}
	if !slices.Contains(s.limit.turn, s.client) {
		s.limit.turn = append(s.limit.turn, s.client)
	}
}

// unready undoes ready.
func (s *Share) unready() {
	s.client.turn = slices.DeleteFunc(s.client.turn, func(o *Share) bool { return o == s })
	if len(s.client.turn) == 0 {
		s.limit.turn = slices.DeleteFunc(s.limit.turn, func(o *client) bool { return o == s.client })
	}
}

// serve grants what there is room for. A client that has nothing yet and can't be
// served is next, whatever those behind it want: so much is never long in coming.
func (l *Limit) serve() {
	for i := 0; i < len(l.turn); {
		c := l.turn[i]
		s := c.turn[0]
		w := s.queue[0]
		if s.over(w.n) != fits {
			if c.used == 0 {
				return
			}
			i++
			continue
		}
		s.addLocked(w.n)
		s.queue = slices.Delete(s.queue, 0, 1)
		w.granted <- struct{}{}
		// Both go to the end of their lines.
		c.turn = slices.Delete(c.turn, 0, 1)
		l.turn = slices.Delete(l.turn, i, i+1)
		if len(c.turn) > 0 {
			l.turn = append(l.turn, c)
		}
		s.ready()
	}
}
