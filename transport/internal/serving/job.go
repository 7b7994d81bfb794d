package serving

import (
	"bytes"
	"fmt"
	"runtime"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
)

// maxChain bounds the requests that are linked to one another.
const maxChain = 64

// job is what a worker does: a request, and, if that is a call, then the reads that
// are linked to it, one after the other.
type job struct {
	frame.Request
	ask  []byte // a call's
	next *job
}

// chain is a job that grows, while the client says that more is linked to it.
type chain struct {
	job
	last *job // nil: there is none
	n    int
}

// add adds r, whose ask is copied, and reports whether that is the last. The error
// wraps [transport.ErrProtocol].
func (h *chain) add(r frame.Request, ask []byte) (whole bool, err error) {
	if r.Call != (h.last == nil) { // its asks would be kept, however many
		return false, fmt.Errorf("%w: a chain that is not one call and reads", transport.ErrProtocol)
	}
	at := &h.job
	if h.last != nil {
		at = new(job)
		h.last.next = at
	}
	*at = job{Request: r, ask: bytes.Clone(ask)}
	h.last = at
	if h.n++; r.Linked && h.n == maxChain {
		return false, fmt.Errorf("%w: more than %d requests are linked", transport.ErrProtocol, maxChain)
	}
	return !r.Linked, nil
}

// call is a worker's that answers calls: it does a job up to the first read that is not
// at hand, or large, and hands the rest on. What goes along with the answer shares its
// write.
func (c *Conn) call(j job) {
	b := c.stage(c.answers, j.Room())
	if b == nil {
		return
	}
	b.call(c.ctx, c.source, j.Request, j.ask)
	r := j.next
	for r != nil && b.fits(r.Room()) && b.try(c.source, r.Request) {
		r = r.next
	}
	c.out.Push(b)
	if r != nil {
		c.pool.Hand(*r)
	}
	if c.calls.Busy() {
		runtime.Gosched() // who is about to answer does before the write, which is for all
	}
	c.out.Flush()
}

// read is a worker's that waits for storage: it does a job that has no call.
func (c *Conn) read(j job) {
	for r := &j; r != nil; r = r.next {
		b := c.stage(c.staged, r.Room())
		if b == nil {
			return
		}
		b.read(c.ctx, c.source, r.Request)
		for r.next != nil && b.fits(r.next.Room()) && b.try(c.source, r.next.Request) {
			r = r.next
		}
		c.push(b)
	}
}
