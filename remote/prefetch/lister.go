package prefetch

import (
	"context"
	"sync"
	"time"

	"hbmfs/remote/namespace"
	"hbmfs/remote/wire"
)

// MaxAge is how old an answer of [Lister.List] may be.
const MaxAge = 500 * time.Millisecond

// maxWait is how long to wait for what is on its way: a directory may be slow to
// list that this caller has no interest in.
const maxWait = 100 * time.Millisecond

// Target is who is asked.
type Target interface {
	// Session returns the session of the moment, nil while there is none. The
	// error says that there will be none.
	Session() (Session, error)
	// Call runs f with a session, again where another may cure its error, for as
	// long as progress is called, or ctx ends.
	Call(ctx context.Context, f func(ctx context.Context, s Session, progress func()) error) error
}

// Session is one session with the target. It is comparable.
type Session interface {
	// List starts a request, whose session it sets. The stream ends with ctx.
	List(ctx context.Context, req *wire.ListRequest) (Stream, error)
}

// Stream is the pages that answer a request. The error is [io.EOF] at the end.
type Stream interface {
	Recv() (*wire.ListPage, error)
}

// Lister lists directories. Its methods may be called concurrently.
type Lister struct {
	target  Target
	walks   *walks
	ctx     context.Context // of streams; ends with Close
	cancel  context.CancelFunc
	streams sync.WaitGroup // that run ahead; grows under walks.mu, until closed
}

// New returns a Lister for a target. The caller closes it.
func New(t Target) *Lister {
	l := &Lister{target: t, walks: newWalks()}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Close ends what runs ahead, and forgets what came. Lists under way fail.
func (l *Lister) Close() {
	l.walks.close()
	l.cancel()
	l.streams.Wait()
}

// List returns the entries of a directory, in no order, and their age: at most
// [MaxAge], and 0 unless the directory came ahead, with one that a walk listed
// before. The errors are the target's.
func (l *Lister) List(ctx context.Context, dataset, path string) ([]namespace.Entry, time.Duration, error) {
	d := dir{dataset, path}
	came, r, err := l.await(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	if came != nil {
		l.walks.noteSubdirs(d, came.entries)
		return came.entries, time.Since(came.came), nil
	}
	entries, err := l.ask(ctx, d, r)
	if err != nil {
		return nil, 0, err
	}
	l.walks.noteSubdirs(d, entries)
	return entries, 0, nil
}

// await returns what came ahead, also if it is on its way yet, or else the run to
// make of it: nil if this is no walk.
func (l *Lister) await(ctx context.Context, d dir) (*listing, *run, error) {
	var timeout <-chan time.Time
	for {
		s, err := l.target.Session()
		if err != nil {
			return nil, nil, err
		}
		came, r, more := l.walks.lookUp(s, d)
		if more == nil {
			return came, r, nil
		}
		if timeout == nil {
			timeout = time.After(maxWait)
		}
		select {
		case <-more:
		case <-timeout:
			return nil, nil, nil
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// ask asks the target, and keeps what runs ahead of it.
func (l *Lister) ask(ctx context.Context, d dir, r *run) (entries []namespace.Entry, err error) {
	goesOn := false
	err = l.target.Call(ctx, func(ctx context.Context, s Session, progress func()) (err error) {
		entries, goesOn, err = l.askOnce(ctx, s, d, r, progress)
		return err
	})
	if r != nil && !goesOn {
		l.walks.endRun(r)
	}
	return entries, err
}

// askOnce returns when d is here; goesOn says that what runs ahead comes yet.
func (l *Lister) askOnce(ctx context.Context, s Session, d dir, r *run, progress func()) (entries []namespace.Entry, goesOn bool, err error) {
	streamCtx, cancel := context.WithCancel(l.ctx)
	stop := context.AfterFunc(ctx, cancel)
	req := &wire.ListRequest{Dataset: []byte(d.dataset), Path: []byte(d.path)}
	if r != nil {
		r.addTo(req)
	}
	stream, err := s.List(streamCtx, req)
	if err == nil {
		in := &reader{stream: stream, progress: progress}
		entries, err = in.wanted(d)
		switch {
		case err != nil:
		case r == nil:
			err = in.end()
		case stop() && l.receiveAhead(s, r, in, cancel):
			return entries, true, nil
		}
	}
	stop()
	cancel() // a stream that is not read to its end
	return entries, false, err
}

// receiveAhead keeps what comes for as long as that can be of use. It returns
// false after Close.
func (l *Lister) receiveAhead(s Session, r *run, in *reader, cancel context.CancelFunc) bool {
	l.walks.mu.Lock()
	defer l.walks.mu.Unlock()
	if l.walks.closed {
		return false
	}
	in.progress = func() {}
	l.streams.Go(func() {
		defer cancel()
		defer l.walks.endRun(r)
		defer time.AfterFunc(MaxAge, cancel).Stop()
		for room := r.budget; ; {
			path, came, err := in.directory(room)
			if err != nil {
				return // whoever wants the rest asks for it
			}
			room -= len(came.entries) + 1
			came.session = s
			l.walks.keep(r, path, came)
		}
	})
	return true
}
