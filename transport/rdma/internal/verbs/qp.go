//go:build linux && cgo

package verbs

// #include "shim.h"
// #cgo noescape hb_post
// #cgo nocallback hb_post
// #cgo noescape hb_post_recv
// #cgo nocallback hb_post_recv
import "C"

import (
	"fmt"
	"unsafe"
)

// QP is a reliable connected queue pair, whose requests have at most one buffer
// and complete silently unless they are [Work].Signaled or fail.
type QP struct {
	ptr    *C.struct_ibv_qp
	number uint32
}

// NewQP makes a queue pair in the reset state: [ID.Move] brings it up.
func (p *PD) NewQP(send, recv *CQ, cfg QPConfig) (*QP, error) {
	q := &QP{}
	var number C.uint32_t
	rc := C.hb_new_qp(p.ptr, send.ptr, recv.ptr, C.int(cfg.SendDepth), C.int(cfg.RecvDepth), &q.ptr, &number)
	if err := failed("ibv_create_qp", rc); err != nil {
		return nil, fmt.Errorf("queue pair of depths %d and %d: %w", cfg.SendDepth, cfg.RecvDepth, err)
	}
	q.number = uint32(number)
	return q, nil
}

// Number returns the queue pair's number, as [ID.Connect] and [ID.Accept] take it.
func (q *QP) Number() uint32 { return q.number }

// Post hands w to the send queue in order, in one call of the device's library.
// After an error some of w may be posted: the queue pair is to be given up.
func (q *QP) Post(w []Work) error {
	if len(w) == 0 {
		return nil
	}
	rc := C.hb_post(q.ptr, (*C.struct_hb_work)(unsafe.Pointer(&w[0])), C.int(len(w)))
	return failed("ibv_post_send", rc)
}

// PostRecv hands r to the receive queue, as [QP.Post] does to the other.
func (q *QP) PostRecv(r []Recv) error {
	if len(r) == 0 {
		return nil
	}
	rc := C.hb_post_recv(q.ptr, (*C.struct_hb_recv)(unsafe.Pointer(&r[0])), C.int(len(r)))
	return failed("ibv_post_recv", rc)
}

// Fail takes the queue pair to the error state: every outstanding request
// completes, with [StatusFlushed] if it did not run.
func (q *QP) Fail() error { return failed("ibv_modify_qp", C.hb_fail(q.ptr)) }

// Close destroys the queue pair. Its device touches no memory for it any more;
// completions that nobody polled are gone.
func (q *QP) Close() error {
	if q.ptr == nil {
		return nil
	}
	ptr := q.ptr
	q.ptr = nil
	return failed("ibv_destroy_qp", C.hb_close_qp(ptr))
}
