package ring

import (
	"context"
	"fmt"
	"slices"
	"syscall"

	"hbmfs/fs/uapi"
)

// operation is one that waits, or is done in a goroutine.
type operation struct {
	ring   *Ring
	op     uapi.RingOp
	name   string
	file   File // retained
	ctx    context.Context
	cancel context.CancelFunc

	// Guarded by Ring.mu.
	at        int  // in underWay
	begun     bool // it had its turn
	cancelled bool
}

// nameOf returns a copy of the name of an operation that is wrong in nothing else.
func (r *Ring) nameOf(op *uapi.RingOp) (string, error) {
	if err := op.Check(); err != nil {
		return "", err
	}
	names := r.mem.Names()
	from, n := uint64(op.Name), uint64(op.NameLength)
	if n == 0 {
		return "", nil
	}
	if from+n > uint64(len(names)) {
		return "", fmt.Errorf("%w: a name from %d to %d of %d", uapi.ErrRange, from, from+n, len(names))
	}
	return string(names[from : from+n]), nil
}

// do answers an operation at once, or enters it into the queue.
func (r *Ring) do(op *uapi.RingOp, name string) {
	switch op.Op {
	case uapi.RingNop:
		r.answer(op, 0)
	case uapi.RingRelease:
		r.answer(op, r.release(op.Handle))
	case uapi.RingCancel:
		r.answer(op, r.cancelOp(op.Handle))
	default:
		r.fetch(op, name)
	}
}

func (r *Ring) release(handle uint64) syscall.Errno {
	switch lost, ok := r.held.release(handle); {
	case !ok:
		return syscall.ENOENT
	case lost != nil:
		return r.all.cfg.Errno(lost)
	}
	return 0
}

func (r *Ring) fetch(op *uapi.RingOp, name string) {
	if op.Handle != 0 {
		if _, ok := r.held.release(op.Handle); !ok {
			r.answer(op, syscall.ENOENT)
			return
		}
	}
	r.got = Got{}
	f, done := r.files.resident(op, name, r.since, &r.got)
	switch {
	case done:
		r.all.hits.Add(1)
		r.grant(op, &r.got)
	case f == nil:
		r.answer(op, syscall.EBADF)
	default:
		r.enqueue(op, name, f)
	}
}

func (r *Ring) enqueue(op *uapi.RingOp, name string, f File) {
	o := &operation{ring: r, op: *op, name: name, file: f}
	o.ctx, o.cancel = context.WithCancel(r.ctx)
	r.mu.Lock()
	o.at = len(r.underWay)
	r.underWay, r.queue = append(r.underWay, o), append(r.queue, o)
	r.queued.Signal()
	r.mu.Unlock()
}

// endQueue has begin end once the queue is empty.
func (r *Ring) endQueue() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.served = true
	r.queued.Signal()
}

// next waits for an operation that is to begin; nil if none will be any more.
func (r *Ring) next() *operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.served {
		r.queued.Wait()
	}
	if len(r.queue) == 0 {
		return nil
	}
	o := r.queue[0]
	r.queue[0], r.queue = nil, r.queue[1:]
	return o
}

// begin begins what is in the queue, each operation when its turn comes. Only this one
// waits for that, so that there are no more goroutines than operations may be under way,
// and maxIdle.
func (r *Ring) begin() {
	defer close(r.ready)
	for o := r.next(); o != nil; o = r.next() {
		err := r.turn.Wait(o.ctx, 1)
		if !o.begin() {
			if err == nil {
				r.turn.Release(1)
			}
			continue
		}
		if err != nil {
			o.complete(Got{}, r.all.cfg.Errno(err))
			continue
		}
		select {
		case r.ready <- o:
		default:
			r.running.Go(func() { r.work(o) })
		}
	}
}

// work does an operation, and then those that come while it is idle: a goroutine whose
// stack has grown is worth keeping.
func (r *Ring) work(o *operation) {
	for ok := true; ok; {
		got, errno := o.file.Fetch(o.ctx, &o.op, o.name)
		r.turn.Release(1)
		o.complete(got, errno)
		if r.all.idle.Add(1) > maxIdle {
			r.all.idle.Add(-1)
			return
		}
		o, ok = <-r.ready
		r.all.idle.Add(-1)
	}
}

// begin reports false if the operation was cancelled before.
func (o *operation) begin() bool {
	o.ring.mu.Lock()
	defer o.ring.mu.Unlock()
	o.begun = true
	return !o.cancelled
}

// complete tells the program what became of the operation.
func (o *operation) complete(got Got, errno syscall.Errno) {
	r := o.ring
	o.file.Release()
	o.cancel()
	r.mu.Lock()
	if errno != 0 && o.cancelled {
		errno = syscall.ECANCELED
	}
	r.leaveLocked(o)
	r.mu.Unlock()
	if errno != 0 {
		r.answer(&o.op, errno)
	} else {
		r.grant(&o.op, &got)
	}
	r.wake()
}

// leaveLocked takes an operation from those under way.
func (r *Ring) leaveLocked(o *operation) {
	last := len(r.underWay) - 1
	moved := r.underWay[last]
	r.underWay[o.at], moved.at = moved, o.at
	r.underWay[last] = nil
	r.underWay = r.underWay[:last]
}

// cancelOp cancels an operation by its user data. One that has not begun completes now.
func (r *Ring) cancelOp(userData uint64) syscall.Errno {
	r.mu.Lock()
	o := r.find(userData)
	if o == nil {
		r.mu.Unlock()
		return syscall.ENOENT
	}
	o.cancelled = true
	begun := o.begun
	if !begun {
		r.leaveLocked(o)
		r.queue = slices.DeleteFunc(r.queue, func(q *operation) bool { return q == o }) // or its turn is waited for
	}
	r.mu.Unlock()
	o.cancel()
	if !begun {
		o.file.Release()
		r.answer(&o.op, syscall.ECANCELED)
	}
	return 0
}

// find returns an operation that is not cancelled yet. With mu.
func (r *Ring) find(userData uint64) *operation {
	for _, o := range r.underWay {
		if o.op.UserData == userData && !o.cancelled {
			return o
		}
	}
	return nil
}
