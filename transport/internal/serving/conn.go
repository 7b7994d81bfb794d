// Package serving is the server's side of the transports over byte streams, as
// far as it is the same for them: it keeps account of who is served, reads
// requests, stages what a source has for them, and puts the replies in the order
// in which they are sent.
//
// It owns staging memory, and the goroutines that read a source. It never
// listens or proves a session, and does not know which part of a reply goes by
// which connection: that is a transport's [Carrier].
//
// # Locking
//
// Server.mu guards which connections there are, outbox.mu what waits to be sent.
// Neither is held over I/O or while a source is read, and neither is taken while
// the other is; connections are closed under both. A client's requests are read
// by one goroutine; replies are sent by whoever had one to send and found no one
// else sending.
package serving

import (
	"context"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
)

const (
	// maxWorkers is how many reads of slow storage one Conn may have under way.
	maxWorkers = 16
	// stagingLimit bounds the payload that one Conn has staged, in bytes; what is
	// in its buffers' rooms is not counted.
	stagingLimit = 32 << 20
)

// Conn answers the requests of one connection, or of one pair of them. Its
// reader answers what the source has in memory itself, and hands the rest to
// workers, so replies may overtake each other.
type Conn struct {
	requests io.Reader
	source   transport.Source
	out      outbox
	budget   *semaphore.Weighted // of staged bytes

	// The reader's own:
	in      []byte
	r, w    int    // what is unread in in
	batch   *batch // being filled, or nil
	jobs    chan frame.Request
	workers int
	wg      sync.WaitGroup
}

// NewConn returns a Conn that reads requests, which ends when to is closed, and
// replies by to.
func NewConn(requests io.Reader, to Carrier, source transport.Source) *Conn {
	c := &Conn{
		requests: requests,
		source:   source,
		budget:   semaphore.NewWeighted(stagingLimit),
		in:       make([]byte, 64*frame.RequestSize),
		jobs:     make(chan frame.Request),
	}
	c.out = outbox{to: to, free: c.free}
	return c
}

// Run serves until the connection ends and returns why it did: [io.EOF] if the
// client closed it between two requests. No read of the source is under way
// then.
func (c *Conn) Run() error {
	err := c.out.fail(c.serve())
	c.send()
	close(c.jobs)
	c.wg.Wait()
	return err
}

// Fail ends the connection because of err, from any goroutine. The first error
// counts.
func (c *Conn) Fail(err error) { _ = c.out.fail(err) }

// serve reads requests and answers them. What is answered in one go is sent once
// there is no further request to read.
func (c *Conn) serve() error {
	for {
		for c.w-c.r < frame.RequestSize {
			c.send()
			if err := c.fill(); err != nil {
				return err
			}
		}
		r, err := frame.ParseRequest(c.in[c.r:c.w])
		if err != nil {
			return err
		}
		c.r += frame.RequestSize
		c.answer(r)
	}
}

func (c *Conn) fill() error {
	c.w = copy(c.in, c.in[c.r:c.w])
	c.r = 0
	n, err := c.requests.Read(c.in[c.w:])
	c.w += n
	switch {
	case n > 0:
		return nil
	case err == io.EOF && c.w > 0:
		return io.ErrUnexpectedEOF
	}
	return err
}

// answer adds r's reply to the batch, or has a worker make it.
func (c *Conn) answer(r frame.Request) {
	if c.batch != nil && !c.batch.fits(int(r.Length)) {
		c.send()
	}
	if c.batch == nil {
		c.batch = c.stage(int(r.Length))
	}
	if !c.batch.reply(c.source, r, false) {
		c.send()
		c.hand(r)
	}
}

// send queues the batch, if there is anything in it, and leaves none.
func (c *Conn) send() {
	b := c.batch
	c.batch = nil
	switch {
	case b == nil:
	case len(b.bytes()) == 0:
		c.free(b)
	default:
		c.out.push(b)
	}
}

// hand gives r to a worker; with all of them busy it waits for one, and the
// client's further requests with it.
func (c *Conn) hand(r frame.Request) {
	select {
	case c.jobs <- r:
		return
	default:
	}
	if c.workers == maxWorkers {
		c.jobs <- r
		return
	}
	c.workers++
	c.wg.Go(func() { c.work(r) })
}

func (c *Conn) work(r frame.Request) {
	for ok := true; ok; r, ok = <-c.jobs {
		b := c.stage(int(r.Length))
		b.reply(c.source, r, true)
		c.out.push(b)
	}
}

// stage returns an empty batch for n bytes of payload. It waits while too much
// is staged, so the reader must not hold one then.
func (c *Conn) stage(n int) *batch {
	buf := landing.GetBuffer(n)
	_ = c.budget.Acquire(context.Background(), int64(len(buf.B))) // others always give theirs back
	b := batches.Get().(*batch)
	*b = batch{buf: buf, end: batchStart}
	return b
}

func (c *Conn) free(b *batch) {
	c.budget.Release(int64(len(b.buf.B)))
	b.buf.Put()
	b.buf = nil
	batches.Put(b)
}
