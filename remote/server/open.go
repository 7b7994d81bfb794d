package server

import (
	"context"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/printable"
)

const (
	// openAttempts bounds how often an open is tried again because a writer
	// came between.
	openAttempts = 3
	// maxCloseHandles is how many one ask may close.
	maxCloseHandles = 1 << 16
)

var (
	errChanged = fmt.Errorf("%w again and again while it was being opened", transport.ErrStale)
	errLate    = fmt.Errorf("%w: a later attempt has opened it", unix.EEXIST)
)

// open opens what req names, as the handle that req says.
func (s *session) open(ctx context.Context, req *wire.OpenRequest) (*wire.OpenReply, error) {
	d, want, err := s.checkOpen(req)
	if err != nil {
		return nil, err
	}
	s.drop(req.Handle, req.Attempt) // of an attempt whose answer was lost
	end, err := s.target.turn(ctx, s.peer)
	if err != nil {
		return nil, err
	}
	defer end()
	for range openAttempts {
		reply, err := s.tryOpen(ctx, d, req, want)
		var refusal *limits.Error
		for errors.As(err, &refusal) && s.makeRoom(ctx) {
			reply, err = s.tryOpen(ctx, d, req, want)
		}
		if err != errChanged {
			return reply, s.logRefusal(err)
		}
	}
	return nil, errChanged
}

// logRefusal logs err if it is a limit's.
func (s *session) logRefusal(err error) error {
	var refusal *limits.Error
	if errors.As(err, &refusal) {
		refusal.Log()
	}
	return err
}

// checkOpen returns what req is about: want, if not nil, is the only version that
// will do.
func (s *session) checkOpen(req *wire.OpenRequest) (d *dataset, want *transport.Version, err error) {
	switch len(req.Version) {
	case 0:
	case len(want):
		want = (*transport.Version)(req.Version)
	default:
		return nil, nil, fmt.Errorf("%w: a version of %d bytes", unix.EINVAL, len(req.Version))
	}
	if req.Handle == 0 {
		return nil, nil, fmt.Errorf("%w: it is the mount that chooses the handle, and not 0", unix.EINVAL)
	}
	d, err = s.dataset(req.Dataset)
	return d, want, err
}

// tryOpen is open until a writer comes between, which is [errChanged].
func (s *session) tryOpen(ctx context.Context, d *dataset, req *wire.OpenRequest, want *transport.Version) (*wire.OpenReply, error) {
	o, attr, err := d.tree.Open(ctx, req.Path)
	if err != nil {
		return nil, err
	}
	why := o.Unsettled()
	f := &openFile{session: s, handle: req.Handle, attempt: req.Attempt, object: o, version: o.Version(), settled: why == ""}
	f.refs.Store(1)
	if want != nil && *want != f.version {
		err = fmt.Errorf("%w since it was looked up", transport.ErrStale)
	} else {
		err = s.keep(f)
	}
	if err != nil {
		o.Close()
		return nil, err
	}
	return &wire.OpenReply{Attr: attr, Settled: f.settled, UnsettledWhy: printable.Line(why, maxWhy), TermMs: s.grant()}, nil
}

// keep has f's handle name f, and no earlier attempt's any more. The error is
// [errChanged] if the file has changed already, [errLate], or wraps
// [limits.ErrLimit].
func (s *session) keep(f *openFile) error {
	before, err := s.enter(f)
	if before != nil {
		before.release()
	}
	return err
}

// enter is keep, and returns what the handle named before, for the caller to
// release.
func (s *session) enter(f *openFile) (before *openFile, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handles == nil {
		return nil, errNoSession
	}
	before = s.handles[f.handle]
	if before != nil && before.attempt > f.attempt {
		return nil, errLate
	}
	if err := s.opened.Acquire(1); err != nil {
		return nil, err
	}
	err = s.target.bounds.files.enter(f)
	if err == nil && !f.object.Hold(f) {
		s.target.bounds.files.leave(f)
		err = errChanged
	}
	if err != nil {
		s.opened.Release(1)
		return nil, err
	}
	if before != nil {
		s.opened.Release(1)
	}
	s.handles[f.handle] = f
	return before, nil
}

// closeHandles closes those of the handles that are open.
func (s *session) closeHandles(handles []uint64) error {
	if len(handles) > maxCloseHandles {
		return fmt.Errorf("%w: %d handles, where one ask may close %d", unix.EINVAL, len(handles), maxCloseHandles)
	}
	for _, h := range handles {
		s.drop(h, math.MaxUint64)
	}
	return nil
}

// drop closes what handle names, unless a later attempt opened that.
func (s *session) drop(handle, attempt uint64) {
	s.mu.Lock()
	f := s.handles[handle]
	if f == nil || f.attempt > attempt {
		s.mu.Unlock()
		return
	}
	delete(s.handles, handle)
	s.opened.Release(1)
	s.mu.Unlock()
	f.release()
}
