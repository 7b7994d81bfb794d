package remote

import (
	"fmt"
	"sync"
	"time"

	"hbmfs/transport"
)

// op is a request on its way: what the link sees, and whom to tell.
type op struct {
	req      transport.Request // Done is op.done, always
	file     *File
	done     func(transport.Result)
	deadline time.Duration // since Target.started; it is not issued again after that
	session  *session      // that it was issued in
	err      error         // why it was set aside
	next     *op           // in the queue
}

var ops sync.Pool

func newOp() *op {
	if o, ok := ops.Get().(*op); ok {
		return o
	}
	o := new(op)
	o.req.Done = o.ended
	return o
}

// batchSize is how many requests a link gets at once.
const batchSize = 64

// queue holds the requests that no link has taken. Target.mu guards it, but for
// batch, which is whoever's set pumping, and for refused, which that one changes.
type queue struct {
	head, tail *op
	pumping    bool // someone hands requests to the link
	again      bool // a credit came back meanwhile
	nudge      *time.Timer
	nudging    bool // nudge will fire
	refused    refusal
	batch      [batchSize]*op
	reqs       [batchSize]*transport.Request
}

// refusal is why a session's link did not take all of the last batch; err is nil
// if it did, or lacked credits only.
type refusal struct {
	by  *session
	err error
}

// isNews reports whether r says what last did not.
func (r refusal) isNews(last refusal) bool {
	return r.err != nil && (last.err == nil || r.by != last.by || r.err.Error() != last.err.Error())
}

// nudgeEvery is how often requests that wait, for the target or for credits, are
// looked at: tried again, or given up.
const nudgeEvery = 20 * time.Millisecond

func (q *queue) push(o *op) {
	o.next = nil
	if q.tail == nil {
		q.head = o
	} else {
		q.tail.next = o
	}
	q.tail = o
}

func (q *queue) pop() *op {
	o := q.head
	q.head = o.next
	if q.head == nil {
		q.tail = nil
	}
	o.next = nil
	return o
}

func (q *queue) pushFront(batch []*op) {
	for i := len(batch) - 1; i >= 0; i-- {
		batch[i].next = q.head
		q.head = batch[i]
		if q.tail == nil {
			q.tail = batch[i]
		}
	}
}

// Submit starts requests, in order, and never blocks. Each Done is called once,
// possibly before Submit returns: with bytes of this version, or with an error
// wrapping [transport.ErrStale], another of package transport's, or
// [transport.ErrConnLost] if no link took the request within the time-out.
// Request.File is not looked at.
func (f *File) Submit(reqs []*transport.Request) {
	t := f.t
	deadline := time.Since(t.started) + t.cfg.Timeout
	f.refs.Add(int64(len(reqs)))
	t.mu.Lock()
	if t.closed || f.closed.Load() {
		t.mu.Unlock()
		f.refuse(reqs)
		return
	}
	for _, r := range reqs {
		o := newOp()
		o.req.Off, o.req.Dst = r.Off, r.Dst
		o.file, o.done, o.deadline = f, r.Done, deadline
		t.waiting.push(o)
	}
	t.queued.Add(int64(len(reqs)))
	t.mu.Unlock()
	t.pump()
}

func (f *File) refuse(reqs []*transport.Request) {
	for _, r := range reqs {
		r.Done(transport.Result{Err: fmt.Errorf("%s/%s: %w", f.dataset, f.path, transport.ErrClosed)})
		f.release()
	}
}

// pump hands waiting requests to the link until it has no credit left. One
// goroutine does at a time; another that comes makes it look again.
func (t *Target) pump() {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := &t.waiting
	if q.pumping || t.closed {
		q.again = true
		return
	}
	q.pumping = true
	t.pumps.Add(1)
	defer t.pumps.Done()
	for t.cur != nil && q.head != nil {
		q.again = false
		if all, err := t.handOver(t.cur); err != nil || !all && !q.again {
			break
		}
	}
	q.pumping = false
	if q.head != nil && !q.nudging && !t.closed {
		q.nudging = true
		q.nudge.Reset(nudgeEvery)
	}
}

// handOver gives the link one batch, and reports whether it took all of it. t.mu
// is held, but for the time of the submission.
func (t *Target) handOver(s *session) (all bool, err error) {
	n, aside := t.fill(s)
	q := &t.waiting
	t.mu.Unlock()
	endAll(aside)
	accepted, err := s.link.Submit(q.reqs[:n])
	if err != nil && needsSession(err) {
		t.fail(s, err)
	}
	refused := q.refused
	if n > 0 {
		refused = refusal{s, err}
	}
	if refused.isNews(q.refused) {
		t.cfg.Log.Warn("requests wait", "target", t.cfg.Addr, "err", err)
	}
	t.mu.Lock()
	t.queued.Add(-int64(accepted))
	q.pushFront(q.batch[accepted:n])
	q.refused = refused
	return accepted == n, err
}

// fill takes a batch out of the queue and names its files in the session s. It
// sets aside requests that are overdue, or whose file is stale. t.mu is held.
func (t *Target) fill(s *session) (n int, aside []*op) {
	q := &t.waiting
	now := time.Since(t.started)
	for n < batchSize && q.head != nil {
		o := q.pop()
		switch {
		case o.file.Stale() || o.file.session != s:
			o.err = o.file.errStale()
		case now >= o.deadline:
			o.err = t.errLate()
		}
		if o.err != nil {
			t.queued.Add(-1)
			aside = append(aside, o)
			continue
		}
		o.session = s
		o.req.File = transport.FileRef{Handle: o.file.handle, Version: o.file.attr.Version}
		q.batch[n], q.reqs[n] = o, &o.req
		n++
	}
	return n, aside
}

// endAll ends requests that were set aside. No lock may be held.
func endAll(aside []*op) {
	for _, o := range aside {
		o.finish(transport.Result{Err: o.err})
	}
}

// ended is the Done of every request that a link sees.
func (o *op) ended(res transport.Result) {
	t := o.file.t
	if res.Err == nil || !t.retry(o, res.Err) {
		o.finish(res)
	}
	if t.queued.Load() > 0 {
		t.pump()
	}
}

// retry queues o again if err may not come again, and there is time.
func (t *Target) retry(o *op, err error) bool {
	if isStale(err) {
		o.file.expire()
		return false
	}
	if !isLost(err) || time.Since(t.started) >= o.deadline {
		return false
	}
	if needsSession(err) {
		t.fail(o.session, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.counters.retries.Add(1)
	t.waiting.push(o)
	t.queued.Add(1)
	return true
}

// finish tells the caller, and gives o back.
func (o *op) finish(res transport.Result) {
	file, done := o.file, o.done
	file.t.counters.ended(&res, o.req.Dst.Len)
	o.file, o.done, o.session, o.err, o.req.Dst = nil, nil, nil, nil, transport.Span{}
	ops.Put(o)
	done(res)
	file.release()
}

// nudged gives up requests that have waited too long, and tries the others.
func (t *Target) nudged() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.pumps.Add(1)
	defer t.pumps.Done()
	t.waiting.nudging = false
	now := time.Since(t.started)
	overdue := t.takeIf(t.errLate(), func(o *op) bool { return now >= o.deadline })
	t.mu.Unlock()
	endAll(overdue)
	t.pump()
}

// errLate says that no link took a request in time, and why there is no link, or
// why it takes none, if that is so. t.mu is held.
func (t *Target) errLate() error {
	err := fmt.Errorf("target %s: %w: no answer within %v", t.cfg.Addr, transport.ErrConnLost, t.cfg.Timeout)
	switch last := &t.waiting.refused; {
	case t.cause != nil:
		err = fmt.Errorf("%w; %v", err, t.cause)
	case last.err != nil && last.by == t.cur:
		err = fmt.Errorf("%w; %v", err, last.err)
	}
	return err
}

// takeIf takes those requests out of the queue that match, to end with err. t.mu
// is held.
func (t *Target) takeIf(err error, match func(*op) bool) (taken []*op) {
	q := &t.waiting
	all := q.head
	q.head, q.tail = nil, nil
	for all != nil {
		o := all
		all = o.next
		if match(o) {
			o.next, o.err = nil, err
			taken = append(taken, o)
		} else {
			q.push(o)
		}
	}
	t.queued.Add(-int64(len(taken)))
	return taken
}

// drain ends what waits when the target is closed.
func (t *Target) drain() {
	t.mu.Lock()
	all := t.takeIf(fmt.Errorf("target %s: %w", t.cfg.Addr, transport.ErrClosed), func(*op) bool { return true })
	t.mu.Unlock()
	endAll(all)
}
