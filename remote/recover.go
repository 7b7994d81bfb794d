package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
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
	stats.Connections, stats.InFlight, stats.Registrations.Bytes, stats.Devmem.Tokens = 0, 0, 0, 0
	t.mu.Lock()
	defer t.mu.Unlock()
	t.past = addLink(t.past, stats)
}

// reconnect tries until there is a session, or returns false at the end.
func (t *Target) reconnect() bool {
	wait := minBackoff
	var r recovery
	for t.pause(wait/2 + rand.N(wait/2)) {
		err := t.replace(&r)
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

// recovery is the attempts to replace one session.
type recovery struct {
	reached time.Time // when the target first gave a session; zero before
	patient bool      // a file that can't be opened now fails the attempt
	extend  func()    // something was answered: the attempt may go on
}

// replace makes a session with the link, memories and files of the last one. It
// goes on as long as no answer takes longer than the time-out.
func (t *Target) replace(r *recovery) error {
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	idle := time.AfterFunc(t.cfg.Timeout, func() {
		cancel(fmt.Errorf("target %s: %w: no answer within %v", t.cfg.Addr, transport.ErrConnLost, t.cfg.Timeout))
	})
	defer idle.Stop()
	r.extend = func() { idle.Reset(t.cfg.Timeout) }
	err := t.replaceOnce(ctx, r)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (t *Target) replaceOnce(ctx context.Context, r *recovery) error {
	t.conn.ResetConnectBackoff()
	s, err := t.openSession(ctx)
	if err != nil {
		return err
	}
	if r.reached.IsZero() {
		r.reached = time.Now()
	}
	r.patient = time.Since(r.reached) < t.cfg.Timeout/2 // so that requests that wait live on
	t.opens(s, 1)
	defer t.opens(s, -1)
	handles, err := t.reopenAll(ctx, s, r)
	if err == nil {
		r.extend()
		err = t.dial(ctx, s)
	}
	var changed []*File
	if err == nil {
		r.extend()
		changed, err = t.adopt(ctx, s, handles)
	}
	if err != nil {
		s.abandon()
		t.detachAll()
		return err
	}
	t.installed(s, changed)
	return nil
}

// adopt gives the link its memories, and makes the session the current one.
func (t *Target) adopt(ctx context.Context, s *session, handles map[*File]uint64) (changed []*File, err error) {
	t.attaching.Lock()
	defer t.attaching.Unlock()
	if err := t.attachAll(ctx, s.link); err != nil {
		return nil, err
	}
	return t.install(s, handles)
}

// install makes s the current session. The files that handles does not have are
// stale by now, or closed; those that changed are yet to turn stale.
func (t *Target) install(s *session, handles map[*File]uint64) (changed []*File, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, transport.ErrClosed
	}
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
	return changed, nil
}

// installed tells those who wait for the new session. No lock may be held.
func (t *Target) installed(s *session, changed []*File) {
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
}

// reopenAll opens every file again. One that changed turns stale.
func (t *Target) reopenAll(ctx context.Context, s *session, r *recovery) (map[*File]uint64, error) {
	files := t.liveFiles()
	handles := make([]uint64, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(reopenConcurrency)
	for i, f := range files {
		g.Go(func() (err error) {
			handles[i], err = t.reopen(ctx, s, f, r)
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
func (t *Target) reopen(ctx context.Context, s *session, f *File, r *recovery) (uint64, error) {
	reply, err := t.control.Open(ctx, f.openRequest(s, &f.attr.Version))
	err = fromStatus(err)
	if err != nil && (ctx.Err() != nil || isLost(err) && !errors.Is(err, transport.ErrUnknownFile)) {
		return 0, err
	}
	r.extend()
	switch {
	case err == nil && (reply.Settled || !f.settled):
		t.counters.roundTrips.Add(1)
		return reply.Handle, nil
	case err == nil:
		t.mu.Lock()
		s.closing = append(s.closing, reply.Handle)
		t.mu.Unlock()
	case r.patient && !isGone(err):
		return 0, err
	}
	t.cfg.Log.Debug("file not found again", "dataset", f.dataset, "path", f.path, "err", err)
	f.expire()
	return 0, nil
}

// gone is what opening a version fails with for good.
var gone = []error{
	transport.ErrStale, syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENXIO,
	syscall.EACCES, syscall.EPERM, syscall.EXDEV, syscall.ETXTBSY,
}

// isGone reports whether err says that a version is not to be had any more,
// rather than that the target is short of something.
func isGone(err error) bool {
	return slices.ContainsFunc(gone, func(g error) bool { return errors.Is(err, g) })
}
