package ring

import (
	"runtime"
	"sync/atomic"

	"hbmfs/fs/uapi"
)

// round is how many submissions are answered before the program is told.
const round = 32

// serve takes submissions until the ring has ended. It has a thread to itself, so that
// what wakes it is the kernel and not Go's scheduler.
func (r *Ring) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer r.endQueue()
	for !r.closed.Load() {
		n, ok := r.take()
		if !ok {
			r.end(uapi.RingBroken)
			return
		}
		if n > 0 {
			r.all.operations.Add(int64(n))
			r.wake()
			continue
		}
		r.sleep()
	}
}

// sleep waits until there may be something to take.
func (r *Ring) sleep() {
	r.setFlags(uapi.RingNeedWakeup)
	if may, ok := r.mayTake(); ok && !may {
		r.mem.sleep()
	}
	r.setFlags(0)
}

// setFlags shows the program flags, unless the end of the ring has shown others.
func (r *Ring) setFlags(flags uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		atomic.StoreUint32(&r.mem.SubmissionFlags, flags)
	}
}

// mayTake reports whether there is a submission, and room for its completion. ok is
// false if a counter of the program's is impossible.
func (r *Ring) mayTake() (may, ok bool) {
	tail, ok := r.tail()
	if !ok || !r.reap() {
		return false, false
	}
	return tail != r.taken && r.hasRoom(), true
}

// tail returns how much the program has submitted. ok is false if that is impossible.
func (r *Ring) tail() (tail uint32, ok bool) {
	tail = atomic.LoadUint32(&r.mem.SubmissionTail)
	return tail, tail-r.taken <= r.mem.Submissions()
}

// hasRoom reports whether there is room for one more completion.
func (r *Ring) hasRoom() bool { return r.taken-r.reaped < r.mem.Completions() }

// reap looks how many completions the program has read.
func (r *Ring) reap() bool {
	head := atomic.LoadUint32(&r.mem.CompletionHead)
	if head-r.reaped > r.posted.Load()-r.reaped {
		return false
	}
	r.reaped = head
	return true
}

// take takes some of what has been submitted, and answers what needs no waiting. What is
// submitted meanwhile is for the next time: it would be later than since.
func (r *Ring) take() (n int, ok bool) {
	tail, ok := r.tail()
	if !ok || !r.reap() {
		return 0, false
	}
	if tail == r.taken {
		return 0, true
	}
	r.since = r.all.cfg.Clock()
	for n < round && r.taken != tail && !r.closed.Load() {
		if !r.reap() {
			return n, false
		}
		if !r.hasRoom() {
			break
		}
		r.op = r.mem.Submission(r.taken)
		name, err := r.nameOf(&r.op)
		r.taken++
		atomic.StoreUint32(&r.mem.SubmissionHead, r.taken)
		n++
		if err != nil {
			r.answer(&r.op, r.all.cfg.Errno(err))
			continue
		}
		r.do(&r.op, name)
	}
	return n, true
}
