package devmemtcp

import (
	"errors"
	"hash/crc32"
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/status"
)

const (
	// batchMax is the largest payload, in bytes, that shares a write with others.
	batchMax = 32 << 10
	// batchReplies is how many replies a batch has at most.
	batchReplies = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var batches = sync.Pool{New: func() any { return new(batch) }}

// batch is replies whose payloads lie one behind the other, read and checked,
// and their headers, in the same order.
type batch struct {
	heads   [batchReplies * frame.ReplySize]byte
	replies int
	buf     *landing.Buffer
	end     int // of the payloads
}

// fits reports whether a reply of n bytes may go along with what there is.
func (b *batch) fits(n int) bool {
	return n <= batchMax && b.end+n <= len(b.buf.B) && b.replies < batchReplies
}

func (b *batch) headers() []byte { return b.heads[:b.replies*frame.ReplySize] }
func (b *batch) payload() []byte { return b.buf.B[:b.end] }

// reply reads what r asks for and adds the reply, which may be that it failed.
// It adds nothing and reports false if that would take waiting for storage and
// wait is false.
func (b *batch) reply(source transport.Source, r frame.Request, wait bool) bool {
	payload := b.buf.B[b.end:][:r.Length:r.Length]
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
	h.Put(b.heads[b.replies*frame.ReplySize:])
	b.replies++
	b.end += int(h.Length)
	return true
}
