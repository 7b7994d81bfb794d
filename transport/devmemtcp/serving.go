package devmemtcp

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/sync/semaphore"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
)

const (
	// maxWorkers is how many reads of slow storage one pair may have under way.
	maxWorkers = 16
	// stagingLimit bounds the payload that one pair has staged, in bytes.
	stagingLimit = 32 << 20
)

var errTalkative = errors.New("the client sent something on a data connection after its greeting")

// serving is the server's side of a pair. Its reader answers what the source has
// in memory itself, and hands the rest to workers, so replies may overtake each
// other.
type serving struct {
	head, data net.Conn
	source     transport.Source
	out        outbox
	budget     *semaphore.Weighted // of staged bytes

	// The reader's own:
	in      []byte
	r, w    int    // what is unread in in
	batch   *batch // being filled, or nil
	jobs    chan frame.Request
	workers int
	wg      sync.WaitGroup
}

func newServing(head, data net.Conn, source transport.Source) *serving {
	v := &serving{
		head:   head,
		data:   data,
		source: source,
		budget: semaphore.NewWeighted(stagingLimit),
		in:     make([]byte, 64*frame.RequestSize),
		jobs:   make(chan frame.Request),
	}
	v.out = outbox{head: head, data: data, free: v.free}
	return v
}

// run serves until a connection ends and returns why it did: [io.EOF] if the
// client closed the head between two requests.
func (v *serving) run() error {
	v.wg.Go(v.listen)
	err := v.out.fail(v.serve())
	v.send()
	close(v.jobs)
	v.wg.Wait()
	return err
}

// listen ends the pair when the data connection ends.
func (v *serving) listen() {
	var b [1]byte
	_, err := v.data.Read(b[:])
	if err == nil {
		err = errTalkative
	}
	_ = v.out.fail(err)
}

// serve reads requests and answers them. What is answered in one go is sent once
// there is no further request to read.
func (v *serving) serve() error {
	for {
		for v.w-v.r < frame.RequestSize {
			v.send()
			if err := v.fill(); err != nil {
				return err
			}
		}
		r, err := frame.ParseRequest(v.in[v.r:v.w])
		if err != nil {
			return err
		}
		v.r += frame.RequestSize
		v.answer(r)
	}
}

func (v *serving) fill() error {
	v.w = copy(v.in, v.in[v.r:v.w])
	v.r = 0
	n, err := v.head.Read(v.in[v.w:])
	v.w += n
	switch {
	case n > 0:
		return nil
	case err == io.EOF && v.w > 0:
		return io.ErrUnexpectedEOF
	}
	return err
}

// answer adds r's reply to the batch, or has a worker make it.
func (v *serving) answer(r frame.Request) {
	if v.batch != nil && !v.batch.fits(int(r.Length)) {
		v.send()
	}
	if v.batch == nil {
		v.batch = v.stage(int(r.Length))
	}
	if !v.batch.reply(v.source, r, false) {
		v.send()
		v.hand(r)
	}
}

// send queues the batch, if there is anything in it, and leaves none.
func (v *serving) send() {
	b := v.batch
	v.batch = nil
	switch {
	case b == nil:
	case b.replies == 0:
		v.free(b)
	default:
		v.out.push(b)
	}
}

// hand gives r to a worker; with all of them busy it waits for one, and the
// client's further requests with it.
func (v *serving) hand(r frame.Request) {
	select {
	case v.jobs <- r:
		return
	default:
	}
	if v.workers == maxWorkers {
		v.jobs <- r
		return
	}
	v.workers++
	v.wg.Go(func() { v.work(r) })
}

func (v *serving) work(r frame.Request) {
	for ok := true; ok; r, ok = <-v.jobs {
		b := v.stage(int(r.Length))
		b.reply(v.source, r, true)
		v.out.push(b)
	}
}

// stage returns an empty batch for n bytes of payload. It waits while too much
// is staged, so the reader must not hold one then.
func (v *serving) stage(n int) *batch {
	buf := landing.GetBuffer(n)
	_ = v.budget.Acquire(context.Background(), int64(len(buf.B))) // others always give theirs back
	b := batches.Get().(*batch)
	b.buf, b.end, b.replies = buf, 0, 0
	return b
}

func (v *serving) free(b *batch) {
	v.budget.Release(int64(len(b.buf.B)))
	b.buf.Put()
	b.buf = nil
	batches.Put(b)
}
