package remote

import (
	"fmt"
	"sync"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/remote/links"
	"hbmfs/remote/session"
	"hbmfs/remote/term"
	"hbmfs/transport"
)

// op is a read or an ask on its way: what the link sees, and whom to tell.
type op struct {
	req      transport.Request // its Tag is the op, always
	file     *File             // of a read, as is from
	from     *transport.Request
	ask      *ask // nil: a read
	room     *askRoom
	deadline time.Duration    // since queue.started; it is not issued again after that
	mem      *links.Memory    // of its destination; nil: it is not attached
	session  *session.Session // that it was issued in
	why      uapi.Reason      // what its link has no reason of its own for
	err      error            // why it was set aside; nil if another link serves mem
	next     *op              // in the queue
}

var ops sync.Pool

// newOp returns one whose link is to tell to.
func newOp(to transport.Completer, deadline time.Duration) *op {
	o, ok := ops.Get().(*op)
	if !ok {
		o = new(op)
		o.req.Tag = o
	}
	o.req.To, o.deadline = to, deadline
	return o
}

// setRead makes o a read of f, into mem.
func (o *op) setRead(f *File, mem *links.Memory, r *transport.Request) {
	o.file, o.mem, o.from = f, mem, r
	o.req.Off, o.req.Dst = r.Off, r.Dst
}

// setAsk makes o an attempt, or many, at having a answered.
func (o *op) setAsk(a *ask) {
	o.ask, o.room = a, askRooms.Get().(*askRoom)
	o.room.encode(a)
	o.req.Call = &o.room.call
}

// nameIn readies o for an attempt in the session s: see [File.refIn].
func (o *op) nameIn(s *session.Session, clock term.Clock) (err error) {
	o.session = s
	if o.ask != nil {
		o.ask.begin(s, clock)
		return nil
	}
	o.req.File, err = o.file.refIn(s)
	return err
}

// free gives o back.
func (o *op) free() {
	if o.room != nil {
		askRooms.Put(o.room)
	}
	*o = op{req: transport.Request{Tag: o}}
	ops.Put(o)
}

// Submit starts requests, in order, and never blocks. Each completes once,
// possibly before Submit returns: with bytes of this version, or with an error
// wrapping [transport.ErrStale], another of package transport's, or
// [transport.ErrConnLost] if no link took the request within the time-out.
// Request.File is not looked at.
func (f *File) Submit(reqs []*transport.Request) {
	f.refs.Add(int64(len(reqs)))
	for len(reqs) > 0 {
		n := 1
		for n < len(reqs) && reqs[n].Dst.Mem == reqs[0].Dst.Mem {
			n++
		}
		mem := f.t.memories.Find(reqs[0].Dst.Mem)
		if f.closed.Load() || !f.t.memories.queueOf(mem).addReads(f, mem, reqs[:n]) {
			f.refuse(reqs[:n])
		}
		reqs = reqs[n:]
	}
}

// addReads queues reads of f into mem. It returns false if the target is closed.
func (q *queue) addReads(f *File, mem *links.Memory, reqs []*transport.Request) bool {
	deadline := time.Since(q.started) + q.waitLimit()
	var l opList
	for _, r := range reqs {
		o := newOp(q, deadline)
		o.setRead(f, mem, r)
		l.push(o)
	}
	return q.add(l, len(reqs))
}

func (f *File) refuse(reqs []*transport.Request) {
	err := fmt.Errorf("%s/%s: %w", f.dataset, f.path, transport.ErrClosed)
	done := make([]transport.Completion, 0, len(reqs))
	for _, r := range reqs {
		done = append(done, transport.Completion{Request: r, Result: transport.Result{Err: err}})
		f.release()
	}
	transport.Complete(done)
}

// finishAll ends what was set aside. No lock may be held.
func finishAll(aside []*op) {
	done := make([]transport.Completion, 0, len(aside))
	for _, o := range aside {
		done = o.finish(done, transport.Result{Err: o.err})
	}
	transport.Complete(done)
}

// Complete implements [transport.Completer], for what links are given.
func (q *queue) Complete(done []transport.Completion) {
	ended, answered := done[:0], false
	for _, c := range done {
		o := c.Tag.(*op)
		if c.Err == nil {
			answered = true
			c.Err = q.take(o)
		}
		if c.Err == nil || !q.requeue(o, c.Err) {
			ended = o.finish(ended, c.Result)
		}
	}
	if answered {
		q.outage.End()
	}
	transport.Complete(ended)
	if q.length.Load() > 0 {
		q.pump()
	}
}

// take takes the answer to an ask.
func (c *caller) take(o *op) error {
	if o.ask == nil {
		return nil
	}
	err := o.ask.decode(o.session, o.room.call.Answer)
	if !isLost(err) {
		c.counters.roundTrips.Add(1)
	}
	return err
}

// requeue queues o again if err may not come again, and there is time.
func (q *queue) requeue(o *op, err error) bool {
	if o.file != nil {
		_ = o.file.judge(err)
	}
	if !isLost(err) || time.Since(q.started) >= o.deadline {
		return false
	}
	if needsSession(err) {
		q.sessions.Fail(o.session, err)
	}
	if o.ask != nil {
		o.room.encode(o.ask)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.counters.retries.Add(1)
	q.push(o)
	q.length.Add(1)
	return true
}

// finish ends o, whose submitter is told by what it adds to done, and gives it back.
func (o *op) finish(done []transport.Completion, res transport.Result) []transport.Completion {
	if a := o.ask; a != nil {
		o.free()
		a.err = res.Err
		close(a.ended)
		return done
	}
	file, from := o.file, o.from
	if res.Why == uapi.WhyBest {
		res.Why = o.why
	}
	file.t.counters.ended(&res, from.Dst.Len)
	o.free()
	file.release()
	return append(done, transport.Completion{Request: from, Result: res})
}
