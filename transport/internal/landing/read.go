package landing

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/transport"
)

// Read is a plain read: its request, the buffer for its payload, and the caller
// who waits.
type Read struct {
	req   transport.Request
	buf   transport.Buffer
	state atomic.Uint32
	res   transport.Result // once ready
	ready chan struct{}    // capacity 1
	timer *time.Timer
}

// States of a Read. Whoever comes second, of its caller and its transfer, finds
// what the first has left.
const (
	readWaiting   uint32 = iota
	readDone             // the transfer has ended, and ready has or gets a value
	readAbandoned        // the caller is gone: the transfer gives the buffer back
)

var reads sync.Pool

// NewRead returns a read into buf, which is not empty. The caller has it carried
// out and waits, or abandons it.
func NewRead(file transport.FileRef, off int64, buf transport.Buffer) *Read {
	r, ok := reads.Get().(*Read)
	if !ok {
		r = &Read{ready: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
		r.timer.Stop()
		r.req.To = r
	}
	r.buf = buf
	r.req.File, r.req.Off, r.req.Dst.Len = file, off, int64(len(buf.Bytes()))
	r.state.Store(readWaiting)
	return r
}

// Request is what is to be carried out, once. Wait follows.
func (r *Read) Request() Request { return Request{Request: &r.req, Host: r.buf.Bytes()} }

// Abandon gives the buffer of a read back that nobody carries out.
func (r *Read) Abandon() { r.free().Release() }

// free returns the buffer, and gives r back.
func (r *Read) free() transport.Buffer {
	b := r.buf
	r.buf = nil
	reads.Put(r)
	return b
}

// Complete implements [transport.Completer]: of the one request.
func (r *Read) Complete(done []transport.Completion) {
	r.res = done[0].Result
	if r.state.CompareAndSwap(readWaiting, readDone) {
		r.ready <- struct{}{}
		return
	}
	r.Abandon()
}

// Wait returns what became of the request, which is under way: the buffer, or why
// there is none. It gives up when ctx ends and, with an error wrapping
// [transport.ErrStalled], when until has come.
func (r *Read) Wait(ctx context.Context, until time.Time) (transport.Buffer, transport.Result) {
	if err := r.await(ctx, until); err != nil {
		return nil, transport.Result{Err: err}
	}
	res := r.res
	buf := r.free() // r is someone else's from here on
	if res.Err != nil {
		buf.Release()
		return nil, res
	}
	return buf, res
}

// await returns nil once the transfer has ended, or why it was given up.
func (r *Read) await(ctx context.Context, until time.Time) (err error) {
	r.timer.Reset(time.Until(until))
	select {
	case <-r.ready:
		r.timer.Stop()
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-r.timer.C:
		err = ErrOverdue
	}
	r.timer.Stop() // r may be someone else's at once
	if r.state.CompareAndSwap(readWaiting, readAbandoned) {
		return err
	}
	<-r.ready
	return nil
}

// ErrOverdue is what a plain read ends with that took too long.
var ErrOverdue = fmt.Errorf("%w: %w: no answer in time", transport.ErrConnLost, transport.ErrStalled)

// ReadLimit is how long a plain read may take, by the session's time-out.
func ReadLimit(timeout time.Duration) time.Duration { return 2 * timeout }
