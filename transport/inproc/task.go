package inproc

import (
	"errors"
	"fmt"
	"sync"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// task is a credit, and the request that has it.
type task struct {
	link *link
	req  landing.Request
	pad  landing.Pad
	// next is the first read chained to a call, or that after this one: they are
	// queued when the call has ended, so that no worker waits for another.
	next *task
}

func (l *link) newTask() *task {
	t := &task{link: l}
	t.pad.Init(t.finish)
	return t
}

// run answers a call, or reads the payload to where it belongs or to where it is
// copied from.
func (t *task) run() {
	err := t.link.check(t.req)
	switch {
	case err != nil:
	case t.req.Call != nil:
		t.finish(t.call())
		return
	default:
		err = t.read()
	}
	if err != nil {
		t.pad.Abort()
		t.finish(err)
		return
	}
	t.pad.Commit()
}

func (t *task) call() error {
	c := t.req.Call
	n, err := t.link.source.Call(t.link.ctx, c.Ask, c.Answer[:transport.MaxCall])
	if err != nil {
		return t.told(err)
	}
	c.Answer = c.Answer[:n]
	return nil
}

func (t *task) read() error {
	err := t.link.source.Read(t.link.ctx, t.req.File, t.req.Off, t.pad.Begin(t.req))
	if err != nil {
		return t.told(err)
	}
	return nil
}

// told is what the source's error means here.
func (t *task) told(err error) error {
	switch {
	case promised(err):
		return err
	case t.link.ctx.Err() != nil:
		return transport.ErrClosed
	}
	return fmt.Errorf("%w: %w", transport.ErrSource, err)
}

// promised reports whether err is one that a source may return, as it is.
func promised(err error) bool {
	return errors.Is(err, transport.ErrStale) || errors.Is(err, transport.ErrRange) ||
		errors.Is(err, transport.ErrSource) || errors.Is(err, transport.ErrUnknownFile)
}

// ones are for completions that come alone: a task is someone else's by then.
var ones = sync.Pool{New: func() any { return new([1]transport.Completion) }}

// finish gives the credit back, ends the request, and starts what is chained to it.
func (t *task) finish(err error) {
	l, r := t.link, t.req
	res := l.result(r, err)
	l.finished.Add(1)
	t.req = landing.Request{}
	next := l.giveBack(t, r.Plain())
	one := ones.Get().(*[1]transport.Completion)
	one[0] = transport.Completion{Request: r.Request, Result: res}
	transport.Complete(one[:])
	ones.Put(one)
	l.follow(next)
	l.open.Done()
}

// result counts and returns how r ended.
func (l *link) result(r landing.Request, err error) transport.Result {
	res := transport.Result{Why: uapi.WhyLocalSource}
	switch {
	case err != nil:
		l.failed.Add(1)
		what := fmt.Sprintf("%d bytes at %d of file %d", r.Dst.Len, r.Off, r.File.Handle)
		if r.Call != nil {
			what = fmt.Sprintf("a call of %d bytes", len(r.Call.Ask))
		}
		res.Err = fmt.Errorf("inproc: %s: %w", what, err)
	case r.Call != nil:
		l.bytes.Add(int64(len(r.Call.Answer)))
	default:
		res.Path, res.HostCopies = uapi.PathHost, 1
		if r.Mapped() == nil {
			res.DeviceCopies = 1
		}
		l.bytes.Add(r.Dst.Len)
	}
	return res
}

// follow starts reads that are chained, from t on.
func (l *link) follow(t *task) {
	for t != nil {
		next := t.next
		t.next = nil
		if !l.enqueue(t) {
			t.run() // fails at once
		}
		t = next
	}
}
