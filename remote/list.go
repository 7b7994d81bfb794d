package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// List returns the entries of a directory, in no order, and their age: at most
// [MaxAge], and 0 unless the directory came ahead, with one that a walk listed
// before. The errors are those of [Target.Stat]. The time-out is per page.
func (t *Target) List(ctx context.Context, dataset, path string) ([]Entry, time.Duration, error) {
	d := dir{dataset, path}
	l, r, err := t.fromAhead(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	if l != nil {
		t.walks.listed(d, l.entries)
		return l.entries, time.Since(l.came), nil
	}
	entries, err := t.listNow(ctx, d, r)
	if err != nil {
		return nil, 0, err
	}
	t.walks.listed(d, entries)
	return entries, 0, nil
}

// fromAhead returns what came ahead, also if it is on its way yet, or else the
// run to make of it: nil if this is no walk.
func (t *Target) fromAhead(ctx context.Context, d dir) (*listing, *run, error) {
	var patience <-chan time.Time
	for {
		s, err := t.current()
		if err != nil {
			return nil, nil, err
		}
		l, r, more := t.walks.ask(s, d)
		if more == nil {
			return l, r, nil
		}
		if patience == nil {
			patience = time.After(aheadPatience)
		}
		select {
		case <-more:
		case <-patience:
			return nil, nil, nil
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// listNow asks the target, and keeps what runs ahead of it.
func (t *Target) listNow(ctx context.Context, d dir, r *run) (entries []Entry, err error) {
	goesOn := false
	err = t.longCall(ctx, func(ctx context.Context, s *session, idle *time.Timer) (err error) {
		entries, goesOn, err = t.listOnce(ctx, s, d, r, func() { idle.Reset(t.cfg.Timeout) })
		return err
	})
	if r != nil && !goesOn {
		t.walks.end(r)
	}
	return entries, err
}

// listOnce returns when d is here; goesOn says that what runs ahead comes yet.
func (t *Target) listOnce(ctx context.Context, s *session, d dir, r *run, progress func()) (entries []Entry, goesOn bool, err error) {
	streamCtx, cancel := context.WithCancel(t.ctx)
	stop := context.AfterFunc(ctx, cancel)
	req := &wire.ListRequest{Session: s.id, Dataset: []byte(d.dataset), Path: []byte(d.path)}
	if r != nil {
		r.ask(req)
	}
	stream, err := t.control.List(streamCtx, req)
	if err == nil {
		in := &listings{stream: stream, progress: progress}
		entries, err = in.wanted(d)
		switch {
		case err != nil:
		case r == nil:
			err = in.end()
		case stop() && t.receiveAhead(s, r, in, cancel):
			return entries, true, nil
		}
	}
	stop()
	cancel() // a stream that is not read to its end
	return entries, false, err
}

// receiveAhead keeps what comes for as long as that can be of use. It returns
// false if the target is closed.
func (t *Target) receiveAhead(s *session, r *run, in *listings, cancel context.CancelFunc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	in.progress = func() {}
	t.workers.Go(func() {
		defer cancel()
		defer t.walks.end(r)
		defer time.AfterFunc(MaxAge, cancel).Stop()
		for room := r.budget; ; {
			path, l, err := in.directory(room)
			if err != nil {
				return // whoever wants the rest asks for it
			}
			room -= len(l.entries) + 1
			l.session = s
			t.walks.keep(r, path, l)
		}
	})
	return true
}

// listings is what a List call streams.
type listings struct {
	stream   grpc.ServerStreamingClient[wire.ListPage]
	progress func() // called for each page
	page     []*wire.Listing
	came     time.Time // of the page
}

// next returns the next directory, or part of one. The error is io.EOF at the
// end.
func (in *listings) next() (*wire.Listing, error) {
	for len(in.page) == 0 {
		page, err := in.stream.Recv()
		if err != nil {
			return nil, err
		}
		in.progress()
		in.page, in.came = page.Listings, time.Now()
	}
	l := in.page[0]
	in.page = in.page[1:]
	return l, nil
}

// maxEntries is how many a directory that was asked for may have.
const maxEntries = 16 << 20

// directory returns the next directory, whole. One of more than limit entries is
// an error.
func (in *listings) directory(limit int) (path string, l *listing, err error) {
	for {
		part, err := in.next()
		if err != nil {
			if l != nil && errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: half a directory", transport.ErrProtocol)
			}
			return "", nil, err
		}
		if l == nil {
			path, l = string(part.Path), &listing{came: in.came}
		}
		if string(part.Path) != path {
			return "", nil, fmt.Errorf("%w: a part of %q amid %q", transport.ErrProtocol, part.Path, path)
		}
		if len(l.entries)+len(part.Entries) > limit {
			return "", nil, fmt.Errorf("%w: more than %d entries", transport.ErrProtocol, limit)
		}
		if l.entries, err = appendEntries(l.entries, part.Entries); err != nil || part.Last {
			return path, l, err
		}
	}
}

func appendEntries(entries []Entry, more []*wire.Entry) ([]Entry, error) {
	entries = slices.Grow(entries, len(more))
	for _, e := range more {
		entry, err := newEntry(e)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// wanted returns the first directory, which must be d.
func (in *listings) wanted(d dir) ([]Entry, error) {
	path, l, err := in.directory(maxEntries)
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: no directory", transport.ErrProtocol)
	case err != nil:
		return nil, err
	case path != d.path:
		return nil, fmt.Errorf("%w: asked for %q, got %q", transport.ErrProtocol, d.path, path)
	}
	return l.entries, nil
}

// end reads the end of the stream.
func (in *listings) end() error {
	_, err := in.next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: more than was asked for", transport.ErrProtocol)
	}
	return err
}
