// Package serving is the target's side of the transports, as far as it is the same
// for them. For all of them it has the workers that wait for storage, a [Pool] for
// each connection, and the order in which replies are sent, an [Outbox]. For those
// over byte streams, a [Server] keeps account of who is served, and a [Conn] reads
// requests, stages what a source has for them, and replies. A call takes a worker in
// any case, which is none of those for reads: neither kind waits for the other.
//
// It owns staging memory, and the goroutines that read a source. It never
// listens or proves a session, and does not know which part of a reply goes by
// which connection: that is a transport's [Carrier].
//
// # Locking
//
// Server.mu guards which connections there are, Outbox.mu what waits to be sent.
// Neither is held over I/O or while a source is read, and neither is taken while
// the other is; connections are closed under Server.mu. A client's requests are
// read by one goroutine; replies are sent by whoever had one to send and found no
// one else sending.
package serving

import (
	"context"
	"io"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/limits"
)

// MaxStaged bounds the payload that one Conn has staged, in bytes; what is in its
// buffers' rooms is not counted. Answers to calls have maxAnswers beside it.
const (
	MaxStaged  = 32 << 20
	maxAnswers = 2 << 20
)

// maxUnsent bounds the batches of one write.
const maxUnsent = 1024

// Conn answers the requests of one connection, or of one pair of them. Its
// reader answers what the source has in memory itself, and hands the rest to
// workers, so replies may overtake each other.
type Conn struct {
	ctx     context.Context // ends when the connection does
	cancel  context.CancelCauseFunc
	to      Carrier
	source  transport.Source
	out     *Outbox[*batch]
	pool    *Pool[job] // of reads
	calls   *Pool[job]
	staged  *limits.Share // in bytes
	answers *limits.Share // those to calls, likewise
	vector  [][]byte      // the sender's own

	// The reader's own:
	in    reader
	batch *batch // being filled, or nil
	chain chain  // of which not all came yet
}

// NewConn returns a Conn that reads requests, which ends when to is closed, and
// replies by to. Its payload counts in staged. Reads of the source end with ctx
// and with the connection.
func NewConn(ctx context.Context, requests io.Reader, to Carrier, who transport.Admission, staged *limits.Limit) *Conn {
	c := &Conn{
		to:      to,
		source:  who.Source,
		staged:  staged.Join(who.Client, MaxStaged),
		answers: staged.Join(who.Client, maxAnswers),
		in:      newReader(requests),
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.out = NewOutbox(maxUnsent, c.write)
	c.pool, c.calls = NewPool(c.ctx, c.read), NewPool(c.ctx, c.call)
	return c
}

// Run serves until the connection ends and returns why it did: [io.EOF] if the
// client closed it between two requests. No read of the source is under way
// then.
func (c *Conn) Run() error {
	defer c.staged.Leave()
	defer c.answers.Leave()
	c.Fail(c.serve())
	c.send()
	c.calls.Close() // first: they hand reads on
	c.pool.Close()
	return context.Cause(c.ctx)
}

// Fail ends the connection because of err, from any goroutine. The first error
// counts.
func (c *Conn) Fail(err error) {
	c.cancel(err)
	c.to.Close() // so that its reader notices
}

// serve reads requests and answers them. What is answered in one go is sent once
// there is no further request to read.
func (c *Conn) serve() error {
	for {
		r, ask, err := c.in.next(c.send)
		if err != nil {
			return err
		}
		if r.Call || r.Linked || c.chain.last != nil {
			err = c.link(r, ask)
		} else {
			c.answer(r)
		}
		if err != nil {
			return err
		}
	}
}

// link has a worker answer a call, once all that is linked to it is here.
func (c *Conn) link(r frame.Request, ask []byte) error {
	whole, err := c.chain.add(r, ask)
	if whole {
		c.send()
		c.calls.Hand(c.chain.job)
		c.chain = chain{}
	}
	return err
}

// answer adds the reply to a read to the batch, or has a worker make it.
func (c *Conn) answer(r frame.Request) {
	if c.batch != nil && !c.batch.fits(int(r.Length)) {
		c.send()
	}
	if c.batch == nil {
		c.batch = c.stage(c.staged, int(r.Length))
	}
	if c.batch == nil {
		return // nobody waits for it
	}
	if !c.batch.try(c.source, r) {
		c.send()
		c.pool.Hand(job{Request: r})
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
		c.push(b)
	}
}

// push has b sent, and freed.
func (c *Conn) push(b *batch) {
	c.out.Push(b)
	c.out.Flush()
}

// write sends batches, unless the connection has ended, and frees them.
func (c *Conn) write(batches []*batch) {
	if c.ctx.Err() == nil {
		c.vector = c.vector[:0]
		for _, b := range batches {
			c.vector = append(c.vector, b.bytes())
		}
		if err := c.to.Write(c.vector); err != nil {
			c.Fail(err)
		}
		clear(c.vector) // none is kept
	}
	for _, b := range batches {
		c.free(b)
	}
	c.out.Sent(len(batches))
}

// stage returns an empty batch for n bytes of payload, which counts in share, or nil
// if the connection has ended. It waits while too much is staged, so the reader must
// not hold one then.
func (c *Conn) stage(share *limits.Share, n int) *batch {
	if share.Wait(c.ctx, int64(landing.BufferSize(n))) != nil {
		return nil
	}
	buf := landing.GetBuffer(n)
	b := batches.Get().(*batch)
	*b = batch{buf: buf, share: share, end: batchStart}
	return b
}

func (c *Conn) free(b *batch) {
	staged, share := int64(len(b.buf.B)), b.share
	b.buf.Release()
	*b = batch{}
	batches.Put(b)
	share.Release(staged)
}
