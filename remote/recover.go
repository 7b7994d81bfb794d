package remote

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/transport"
)

// Waits between attempts to get a session: doubled each time, with jitter.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
)

// reopenConcurrency is how many files are opened again at once.
const reopenConcurrency = 16

// fail asks for another session in the place of s. The first reason counts.
func (t *Target) fail(s *session, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.cur != s {
		return
	}
	t.cur = nil
	t.cause = err
	t.wake()
	t.lost <- s // has room: one session is current at a time
}

// recoverSessions replaces each session that failed.
func (t *Target) recoverSessions() {
	for {
		select {
		case <-t.ctx.Done():
			return
		case s := <-t.lost:
			t.cfg.Log.Warn("session lost", "target", t.cfg.Addr, "err", t.whyLost())
			s.cancel()
			t.retire(s)
			t.detachAll()
			began := time.Now()
			if !t.reconnect() {
				return
			}
			t.cfg.Log.Info("session recovered", "target", t.cfg.Addr, "after", time.Since(began))
		}
	}
}

// retireLost is for a session that was lost when nobody was left to replace it.
func (t *Target) retireLost() {
	select {
	case s := <-t.lost:
		t.retire(s)
	default:
	}
}

func (t *Target) whyLost() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// retire closes the session's link: all its requests are Done, or wait again.
func (t *Target) retire(s *session) {
	s.link.Close()
	stats := s.link.Stats()
	stats.Connections, stats.InFlight = 0, 0
	t.mu.Lock()
	defer t.mu.Unlock()
	t.past = addLink(t.past, stats)
}

// reconnect tries until there is a session, or returns false at the end.
func (t *Target) reconnect() bool {
	wait := minBackoff
	for t.pause(wait/2 + rand.N(wait/2)) {
		err := t.replace()
		if err == nil {
			return true
		}
		t.cfg.Log.Debug("session not recovered", "target", t.cfg.Addr, "err", err)
		t.mu.Lock()
		t.cause = err
		t.mu.Unlock()
		wait = min(2*wait, maxBackoff)
	}
	return false
}

// pause returns false if the target is closed meanwhile.
func (t *Target) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// replace makes a session with the link, memories and files of the last one.
func (t *Target) replace() error {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Timeout)
	defer cancel()
	t.conn.ResetConnectBackoff()
	s, err := t.openSession(ctx)
	if err != nil {
		return err
	}
	handles, err := t.reopenAll(ctx, s)
	if err == nil {
		err = t.dial(ctx, s)
	}
	if err == nil {
		err = t.adopt(ctx, s, handles)
	}
	if err != nil {
		s.abandon()
		t.detachAll()
	}
	return err
}

// adopt gives the link its memories, and makes the session the current one.
func (t *Target) adopt(ctx context.Context, s *session, handles map[*File]uint64) error {
	t.attaching.Lock()
	defer t.attaching.Unlock()
	if err := t.attachAll(ctx, s.link); err != nil {
		return err
	}
	return t.install(s, handles)
}

// install makes s the current session. The files that handles does not have are
// stale by now, or closed.
func (t *Target) install(s *session, handles map[*File]uint64) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return transport.ErrClosed
	}
	var changed []*File
	for f, handle := range handles {
		if _, open := t.files[f]; !open {
			s.closing = append(s.closing, handle)
		} else if t.bind(f, s, handle) {
			changed = append(changed, f)
		}
	}
	t.cur = s
	t.cause = nil
	t.wake()
	t.mu.Unlock()
	t.askCloser()
	for _, f := range changed {
		f.expire()
	}
	select {
	case <-s.ended: // before anyone could be told
		t.fail(s, transport.ErrConnLost)
	default:
	}
	t.pump()
	return nil
}

// reopenAll opens every file again. One that changed turns stale.
func (t *Target) reopenAll(ctx context.Context, s *session) (map[*File]uint64, error) {
	files := t.liveFiles()
	handles := make([]uint64, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(reopenConcurrency)
	for i, f := range files {
		g.Go(func() (err error) {
			handles[i], err = t.reopen(ctx, s, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found := make(map[*File]uint64, len(files))
	for i, f := range files {
		if handles[i] != 0 {
			found[f] = handles[i]
		}
	}
	return found, nil
}

func (t *Target) liveFiles() []*File {
	t.mu.Lock()
	defer t.mu.Unlock()
	files := make([]*File, 0, len(t.files))
	for f := range t.files {
		if !f.Stale() {
			files = append(files, f)
		}
	}
	return files
}

// reopen returns the handle of f's version in the session s, or 0 if f has
// turned stale. A settled file that can't be leased any more counts as changed:
// nobody watched it while the target was away.
func (t *Target) reopen(ctx context.Context, s *session, f *File) (uint64, error) {
	reply, err := t.control.Open(ctx, f.openRequest(s, &f.attr.Version))
	err = fromStatus(err)
	switch {
	case err == nil && (reply.Settled || !f.settled):
		t.counters.roundTrips.Add(1)
		return reply.Handle, nil
	case err == nil:
		t.mu.Lock()
		s.closing = append(s.closing, reply.Handle)
		t.mu.Unlock()
	case isLost(err) && !errors.Is(err, transport.ErrUnknownFile), errors.Is(err, context.Canceled):
		return 0, err
	}
	f.expire()
	return 0, nil
}
