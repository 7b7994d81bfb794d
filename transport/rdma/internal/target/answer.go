package target

import (
	"errors"
	"hash/crc32"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// parcel is payload that is ready to be written: n bytes at a local address,
// which is in a staging buffer, if it is in any.
type parcel struct {
	from   []byte // a staging buffer
	local  uint64
	n      uint32
	remote uint64
	rkey   uint32
}

// answer is what ends a request: the last of its payload, if any, then its
// record and an immediate.
type answer struct {
	record wire.Record
	imm    uint32
	last   parcel
}

// job is a request that a worker answers.
type job struct {
	wire.Request
	// called is closed when the call is answered that this is, or that it is chained
	// to; nil of others.
	called chan struct{}
}

// answer queues the reply to r, or has a worker make it.
func (c *conn) answer(r wire.Request) {
	j := job{Request: r}
	switch {
	case r.Ask != nil:
		c.called = make(chan struct{})
		j.called = c.called
	case r.Chained && c.calling():
		j.called = c.called
	case r.Length <= pieceSize && c.tryNow(r):
		return
	}
	c.pool.Hand(j)
}

// calling reports whether the latest call is yet to be answered.
func (c *conn) calling() bool {
	select {
	case <-c.called:
		return false
	default:
		return c.called != nil
	}
}

// work is a worker's. What waits for a call is handed over after that, so the call
// has a worker.
func (c *conn) work(j job) {
	defer c.out.flush()
	switch {
	case j.Ask != nil:
		c.call(j.Request)
		close(j.called) // its record goes first
		return
	case j.called != nil:
		select {
		case <-j.called:
		case <-c.ctx.Done():
			return
		}
	}
	c.fetch(j.Request)
}

// call answers r, whose ask has room for the answer behind it. It takes staging only
// then: storage may be slow.
func (c *conn) call(r wire.Request) {
	room := r.Ask[len(r.Ask):cap(r.Ask)]
	n, err := c.source.Call(c.ctx, r.Ask, room)
	if err != nil && c.ctx.Err() != nil {
		return
	}
	if err == nil {
		r.Length = uint32(n)
	}
	p := part(r, 0, r.Length)
	if p.n > 0 && !p.put(c.out.staging.take(c.ctx)) {
		return
	}
	copy(p.bytes(), room)
	c.finish(r, p, checksum(r, 0, p), err)
}

// tryNow reports false if there is no staging buffer or the source would block.
func (c *conn) tryNow(r wire.Request) bool {
	p := part(r, 0, r.Length)
	if r.Length > 0 && !p.put(c.out.staging.tryTake()) {
		return false
	}
	err := c.source.TryRead(r.File, r.Off, p.bytes())
	if errors.Is(err, transport.ErrWouldBlock) {
		c.out.staging.put(p.from)
		return false
	}
	c.finish(r, p, checksum(r, 0, p), err)
	return true
}

// fetch answers r piece by piece, and waits for staging and the source.
func (c *conn) fetch(r wire.Request) {
	var crc uint32
	for at := uint32(0); ; at += pieceSize {
		p := part(r, at, min(r.Length-at, pieceSize))
		if p.n > 0 && !p.put(c.out.staging.take(c.ctx)) {
			return
		}
		err := c.source.Read(c.ctx, r.File, r.Off+int64(at), p.bytes())
		if err != nil && c.ctx.Err() != nil { // the connection's end is all that the client is to hear of it
			c.out.staging.put(p.from)
			return
		}
		crc = checksum(r, crc, p)
		if err != nil || at+p.n == r.Length {
			c.finish(r, p, crc, err)
			return
		}
		c.out.piece(p)
		c.out.flush()
	}
}

// finish queues the record that ends r, behind the last of its payload unless
// the source failed.
func (c *conn) finish(r wire.Request, last parcel, crc uint32, err error) {
	a := answer{record: wire.Record{Tag: r.Tag, Status: status.Of(err), Length: r.Length, File: r.File, Off: r.Off}, imm: uint32(r.Tag)}
	if err != nil {
		c.out.staging.put(last.from)
	} else {
		a.last, a.record.CRC = last, crc
	}
	if c.server.alter == nil || c.server.alter(c, &a) {
		c.out.reply(a)
	}
}

// part is n bytes of r's payload, from at on. It has no memory yet.
func part(r wire.Request, at, n uint32) parcel {
	return parcel{n: n, remote: r.Addr + uint64(at), rkey: r.RKey}
}

// put gives the parcel a staging buffer, and reports false if there is none.
func (p *parcel) put(b []byte) bool {
	p.from, p.local = b, verbs.Addr(b)
	return b != nil
}

// bytes is the parcel's memory; nil if it is empty.
func (p *parcel) bytes() []byte { return p.from[:p.n] }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum adds p to the crc of what came before it, if r asks for one.
func checksum(r wire.Request, crc uint32, p parcel) uint32 {
	if !r.Checksum {
		return 0
	}
	return crc32.Update(crc, castagnoli, p.bytes())
}
