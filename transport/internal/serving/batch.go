package serving

import (
	"context"
	"errors"
	"hash/crc32"
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/limits"
)

// batchMax is the largest payload, in bytes, that shares a write with others.
const batchMax = 32 << 10

// batchStart is where in landing.Buffer.Raw the first header is: so the payload
// behind it is aligned to pages.
const batchStart = landing.Room - frame.ReplySize

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var batches = sync.Pool{New: func() any { return new(batch) }}

// batch is replies that lie one behind the other, each header directly before
// its payload, ready to be sent.
type batch struct {
	buf   *landing.Buffer
	share *limits.Share // that buf counts in
	end   int           // in buf.Raw
}

func (b *batch) bytes() []byte { return b.buf.Raw[batchStart:b.end] }

// fits reports whether a reply of n bytes of payload may go along with what
// there is.
func (b *batch) fits(n int) bool {
	return n <= batchMax && b.end+frame.ReplySize+n <= len(b.buf.Raw)
}

// try is read without waiting for storage: where that would take it, it
// appends nothing and reports false.
func (b *batch) try(source transport.Source, r frame.Request) bool {
	payload := b.payload(r)
	err := source.TryRead(r.File, r.Off, payload)
	if errors.Is(err, transport.ErrWouldBlock) {
		return false
	}
	b.add(r, payload, err)
	return true
}

// read appends the reply to a read, which may be that it failed.
func (b *batch) read(ctx context.Context, source transport.Source, r frame.Request) {
	payload := b.payload(r)
	b.add(r, payload, source.Read(ctx, r.File, r.Off, payload))
}

// call appends the reply to a call, which may be that it failed.
func (b *batch) call(ctx context.Context, source transport.Source, r frame.Request, ask []byte) {
	payload := b.payload(r)
	n, err := source.Call(ctx, ask, payload)
	b.add(r, payload[:n], err)
}

// payload is where the payload of the next reply belongs.
func (b *batch) payload(r frame.Request) []byte {
	n := r.Room()
	return b.buf.Raw[b.end+frame.ReplySize:][:n:n]
}

// add appends the reply to r, whose payload is in its place unless err says why not.
func (b *batch) add(r frame.Request, payload []byte, err error) {
	h := frame.Reply{ID: r.ID, Status: status.Of(err)}
	if err == nil {
		h.Length, h.Answer, h.Checksum = uint32(len(payload)), r.Call, r.Checksum
		if r.Checksum {
			h.CRC = crc32.Checksum(payload, castagnoli)
		}
	}
	h.Put(b.buf.Raw[b.end:])
	b.end += frame.ReplySize + int(h.Length)
}
