package serving

import (
	"errors"
	"hash/crc32"
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/status"
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
	buf *landing.Buffer
	end int // in buf.Raw
}

func (b *batch) bytes() []byte { return b.buf.Raw[batchStart:b.end] }

// fits reports whether a reply of n bytes of payload may go along with what
// there is.
func (b *batch) fits(n int) bool {
	return n <= batchMax && b.end+frame.ReplySize+n <= len(b.buf.Raw)
}

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
