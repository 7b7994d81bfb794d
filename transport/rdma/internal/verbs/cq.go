//go:build linux && cgo

package verbs

// #include "shim.h"
// #cgo noescape hb_poll
// #cgo nocallback hb_poll
// #cgo nocallback hb_arm
// #cgo nocallback hb_cq_event
import "C"

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// CQ is a completion queue with a completion channel of its own.
type CQ struct {
	ptr     *C.struct_ibv_cq
	channel *C.struct_ibv_comp_channel
	waiter  *waiter
	armed   bool // of the goroutine in Wait
	stopped atomic.Bool
}

// NewCQ makes a queue for depth completions, at least 1. A queue
// that overflows is lost: depth counts every request that can be outstanding.
func (c *Context) NewCQ(depth int) (*CQ, error) {
	q := &CQ{}
	var fd C.int
	if err := failed("ibv_create_cq", C.hb_new_cq(c.ptr, C.int(depth), &q.channel, &q.ptr, &fd)); err != nil {
		return nil, fmt.Errorf("completion queue of %d on %s: %w", depth, c.name, err)
	}
	var err error
	q.waiter, err = newWaiter(int(fd), "completion channel", func() syscall.Errno {
		return syscall.Errno(C.hb_cq_event(q.channel))
	})
	if err != nil {
		return nil, errors.Join(err, failed("ibv_destroy_cq", C.hb_close_cq(q.channel, q.ptr)))
	}
	return q, nil
}

// Poll takes up to len(wc) completions, in one call of the device's library,
// and returns how many. After an error the queue is lost.
func (q *CQ) Poll(wc []Completion) (int, error) {
	if len(wc) == 0 {
		return 0, nil
	}
	n := C.hb_poll(q.ptr, (*C.struct_hb_completion)(unsafe.Pointer(&wc[0])), C.int(len(wc)))
	if n < 0 {
		return 0, failed("ibv_poll_cq", -n)
	}
	return int(n), nil
}

// Wait returns when the queue is worth a [CQ.Poll]. Called after a Poll that
// found nothing, it asks for an event and returns at once, so that the caller
// polls again for what came before; if that finds nothing either, the next Wait
// parks the goroutine until the event. It may return for nothing. It returns
// [ErrInterrupted] after [CQ.Interrupt].
func (q *CQ) Wait() error {
	if q.stopped.Load() {
		return ErrInterrupted
	}
	if !q.armed {
		q.armed = true
		return failed("ibv_req_notify_cq", C.hb_arm(q.ptr))
	}
	if err := q.waiter.wait(); err != nil {
		return os.NewSyscallError("ibv_get_cq_event", err)
	}
	q.armed = false
	return nil
}

// Interrupt makes [CQ.Wait] return [ErrInterrupted], now and ever after.
func (q *CQ) Interrupt() {
	q.stopped.Store(true)
	q.waiter.interrupt()
}

// Close frees the queue, after Wait returned for the last time and the queue
// pairs that use it are closed.
func (q *CQ) Close() error {
	if q.ptr == nil {
		return nil
	}
	ptr := q.ptr
	q.ptr = nil
	return errors.Join(q.waiter.close(), failed("ibv_destroy_cq", C.hb_close_cq(q.channel, ptr)))
}
