package remote

import (
	"context"
	"errors"
	"slices"

	"hbmfs/remote/control"
	"hbmfs/remote/session"
	"hbmfs/transport"
)

// reopening opens files again in a session that is not the current one yet, many
// by a message. It is the completer of its requests.
type reopening struct {
	*connector
	s        *session.Session
	r        *recovery
	rest     []*File // to ask for
	ready    []*transport.Request
	underWay int                       // that the link has
	ended    chan transport.Completion // has room for all
}

// reopenAll opens every file again. One that changed turns stale.
func (c *connector) reopenAll(ctx context.Context, s *session.Session, r *recovery) error {
	files := c.files.live()
	o := &reopening{connector: c, s: s, r: r, rest: files, ended: make(chan transport.Completion, len(files))}
	for len(o.rest)+len(o.ready)+o.underWay > 0 {
		if err := o.submit(ctx); err != nil {
			return err
		}
		if err := o.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// submit gives the link what it takes.
func (o *reopening) submit(ctx context.Context) error {
	for len(o.rest) > 0 && len(o.ready) < batchSize {
		f := o.rest[0]
		o.rest = o.rest[1:]
		if err := o.prepare(ctx, f); err != nil {
			return err
		}
	}
	n, err := o.s.Link.Submit(o.ready)
	o.ready = slices.Delete(o.ready, 0, n)
	o.underWay += n
	return err
}

// prepare readies a request for f, unless it was closed. What the link can't carry
// is asked at once.
func (o *reopening) prepare(ctx context.Context, f *File) error {
	if !o.files.move(f, o.s) {
		return nil
	}
	a := f.askOpen(&f.attr.Version)
	a.begin(o.s, o.cfg.Clock)
	if !a.fits() {
		return o.judge(ctx, f, a, control.Error(o.askIn(ctx, o.s, a)))
	}
	p := newOp(o, 0)
	p.file, p.session = f, o.s
	p.setAsk(a)
	o.ready = append(o.ready, &p.req)
	return nil
}

// Complete implements [transport.Completer].
func (o *reopening) Complete(done []transport.Completion) {
	for _, c := range done {
		o.ended <- c
	}
}

// await takes the answers that there are, and at least one if any is owed.
func (o *reopening) await(ctx context.Context) error {
	if o.underWay == 0 && len(o.ready) > 0 && !sleep(ctx, minRetry) { // the link takes nothing yet
		return ctx.Err()
	}
	for owed := o.underWay > 0; owed; owed = len(o.ended) > 0 {
		select {
		case c := <-o.ended:
			if err := o.finish(ctx, c); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (o *reopening) finish(ctx context.Context, c transport.Completion) error {
	p, err := c.Tag.(*op), c.Err
	f, a := p.file, p.ask
	if err == nil {
		err = o.take(p)
	}
	p.free()
	o.underWay--
	if err == nil && a.answer.TooLarge {
		err = control.Error(o.askIn(ctx, o.s, a))
	}
	return o.judge(ctx, f, a, err)
}

// judge decides what has become of f, which was opened with that error or none. A
// settled file that can't be leased any more counts as changed: nobody watched it
// while the target was away. An error is for the whole attempt.
func (o *reopening) judge(ctx context.Context, f *File, a *ask, err error) error {
	if err != nil && (ctx.Err() != nil || isLost(err) && !errors.Is(err, transport.ErrUnknownFile)) {
		return err
	}
	o.r.extend()
	switch {
	case err == nil && (a.answer.GetOpen().GetSettled() || !f.settled):
		return nil
	case err == nil:
		o.closer.Add(f.handle, true)
	case o.r.strict && !control.IsGone(err):
		return err
	}
	o.log.Warn("a file was not found again after a reconnect: it is stale, and pins of it end, as of others that the log does not tell", "", "dataset", f.dataset, "path", f.path, "err", err)
	f.expire()
	return nil
}
