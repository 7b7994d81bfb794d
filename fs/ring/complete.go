package ring

import (
	"sync/atomic"
	"syscall"

	"hbmfs/fs/uapi"
)

// post writes a completion. There is room for it: see [Ring.mayTake]. It reports false
// if the ring has ended.
func (r *Ring) post(d *uapi.RingDone) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	r.mem.Complete(r.posted.Load(), d)
	atomic.StoreUint32(&r.mem.CompletionTail, r.posted.Add(1))
	return true
}

// answer completes an operation that pins nothing.
func (r *Ring) answer(op *uapi.RingOp, errno syscall.Errno) {
	d := uapi.RingDone{UserData: op.UserData, Error: uint16(errno)}
	r.post(&d)
}

// grant completes an operation with what it got, which is released if nobody is told.
func (r *Ring) grant(op *uapi.RingOp, got *Got) {
	d := got.Done
	d.UserData, d.Error, d.Handle, d.Zero = op.UserData, 0, 0, 0
	if got.Held != nil {
		if d.Handle = r.held.keep(got.Held); d.Handle == 0 {
			d = uapi.RingDone{UserData: op.UserData, Error: uint16(syscall.ENOSPC)}
		}
	}
	r.post(&d)
}

// wake wakes the program if it sleeps. It comes after what it is to see.
func (r *Ring) wake() {
	if atomic.LoadUint32(&r.mem.CompletionFlags)&uapi.RingNeedWakeup != 0 {
		r.signal()
	}
}

// revoked tells the program that memory was taken away, whether it sleeps or not.
func (r *Ring) revoked() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		atomic.AddUint32(&r.mem.Revocations, 1)
		r.running.Go(r.signal)
	}
}

// signal has the program's eventfd written after this call began. One goroutine at a
// time does that for all, so that no more than one can be kept waiting by the program.
func (r *Ring) signal() {
	if r.signals.Add(1) > 1 {
		return
	}
	for n := int64(1); ; n = r.signals.Load() {
		r.mem.wakeProgram()
		if r.signals.CompareAndSwap(n, 0) {
			return
		}
	}
}
