package tcp

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"sync"

	"golang.org/x/sync/semaphore"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/status"
)

const (
	// maxWorkers is how many reads of slow storage one connection may have
	// under way.
	maxWorkers = 16
	// stagingLimit bounds the payload that one connection has staged, in bytes.
	stagingLimit = 32 << 20
	// batchMax is the largest reply, in bytes, that shares a write with others.
	batchMax = 32 << 10
)

// serving is the server's side of one connection. Its reader answers what the
// source has in memory itself, and hands the rest to workers, so replies may
// overtake each other.
type serving struct {
	nc     net.Conn
	source transport.Source
	out    outbox
	budget *semaphore.Weighted // of staged bytes

	// The reader's own:
	in      inbox
	batch   *batch // being filled, or nil
	jobs    chan frame.Request
	workers int
	wg      sync.WaitGroup
}

func newServing(nc net.Conn, source transport.Source) *serving {
	v := &serving{
		nc:     nc,
		source: source,
		budget: semaphore.NewWeighted(stagingLimit),
		in:     inbox{buf: make([]byte, 64*frame.RequestSize)},
		jobs:   make(chan frame.Request),
	}
	v.out = outbox{nc: nc, raw: raw(nc), free: v.free}
	return v
}

// run serves until the connection ends and returns why it did: [io.EOF] if the
// client closed it between two requests.
func (v *serving) run() error {
	err := v.out.fail(v.serve())
	v.send()
	close(v.jobs)
	v.wg.Wait()
	return err
}

// serve reads requests and answers them. What is answered in one go is sent once
// there is no further request to read.
func (v *serving) serve() error {
	for {
		for v.in.w-v.in.r < frame.RequestSize {
			v.send()
			if err := v.fill(); err != nil {
				return err
			}
		}
		r, err := frame.ParseRequest(v.in.buf[v.in.r:v.in.w])
		if err != nil {
			return err
		}
		v.in.r += frame.RequestSize
		v.answer(r)
	}
}

func (v *serving) fill() error {
	v.in.reserve(frame.RequestSize)
	n, err := v.nc.Read(v.in.buf[v.in.w:])
	v.in.w += n
	switch {
	case n > 0:
		return nil
	case err == io.EOF && v.in.w > v.in.r:
		return io.ErrUnexpectedEOF
	}
	return err
}

// answer adds r's reply to the batch, or has a worker make it.
func (v *serving) answer(r frame.Request) {
	size := frame.ReplySize + int(r.Length)
	if v.batch != nil && (size > batchMax || !v.batch.fits(size)) {
		v.send()
	}
	if v.batch == nil {
		v.batch = v.stage(size)
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
	case b.start == b.end:
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
		b := v.stage(frame.ReplySize + int(r.Length))
		b.reply(v.source, r, true)
		v.out.push(b)
	}
}

// stage returns an empty batch for size bytes, header included. It waits while
// too much is staged, so the reader must not hold one then.
func (v *serving) stage(size int) *batch {
	buf := landing.GetBuffer(size - frame.ReplySize)
	_ = v.budget.Acquire(context.Background(), int64(len(buf.B))) // others always give theirs back
	b := batches.Get().(*batch)
	*b = batch{buf: buf, start: landing.Room - frame.ReplySize, end: landing.Room - frame.ReplySize}
	return b
}

func (v *serving) free(b *batch) {
	v.budget.Release(int64(len(b.buf.B)))
	b.buf.Put()
	b.buf = nil
	batches.Put(b)
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// batch is replies that lie one behind the other, ready to be written. The first
// payload is aligned to pages.
type batch struct {
	buf        *landing.Buffer
	start, end int // in buf.Raw
}

func (b *batch) fits(size int) bool { return b.end+size <= len(b.buf.Raw) }

func (b *batch) bytes() []byte { return b.buf.Raw[b.start:b.end] }

// reply reads what r asks for and appends the reply, which may be that it
// failed. It appends nothing and reports false if that would take waiting for
// storage and wait is false.
func (b *batch) reply(source transport.Source, r frame.Request, wait bool) bool {
	head := b.buf.Raw[b.end:]
	payload := head[frame.ReplySize:][:r.Length:r.Length]
	err := source.Read(r.File, r.Off, payload, wait)
	if !wait && errors.Is(err, transport.ErrWouldBlock) {
		return false
	}
	h := frame.Reply{ID: r.ID, Status: status.Of(err)}
	if err == nil {
		h.Length, h.Checksum = r.Length, r.Checksum
		if r.Checksum {
			h.CRC = crc32.Checksum(payload, castagnoli)
		}
	}
	h.Put(head)
	b.end += frame.ReplySize + int(h.Length)
	return true
}
