package rdma

import (
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// What must complete before the payload may land.
const (
	owesRecord uint32 = 1 << iota
	owesSend
)

// slot is a request under way. While the peer has yet to answer, or some of the
// work to complete, it is the lane's goroutine's; then it belongs to whoever lands
// the payload.
type slot struct {
	conn            *conn
	index           int
	req             landing.Request
	gen             uint32
	owes            atomic.Uint32 // also tells the lane's goroutine what was written before
	record          wire.Record
	fault           error            // what the peer got wrong about this request
	region          *verbs.MR        // where the peer writes
	direct          bool             // that is the destination itself
	piece           []byte           // that is elsewhere, unless direct or empty
	result          transport.Result // of a success
	copied, visible func(error)
}

func (s *slot) init(c *conn, index int) {
	s.conn, s.index = c, index
	s.copied, s.visible = s.onCopied, s.onVisible
}

func (s *slot) tag() wire.Tag { return wire.NewTag(s.index, s.gen) }

// aim takes r and decides where the peer writes its payload. It reports false if
// there is no bounce memory for it.
func (s *slot) aim(r landing.Request) bool {
	s.region, s.direct, s.piece = nil, false, nil
	s.result = transport.Result{Path: uapi.PathStaged, Why: uapi.WhyNotRegistered, HostCopies: 1}
	switch {
	case r.Call != nil:
		s.region, s.piece = s.conn.control.in, s.conn.control.answer(s.index)
		s.result.Why = uapi.WhyBest
	case r.Plain():
		s.region, s.piece = s.conn.device.reads, r.Host
		s.result.Why = uapi.WhyPlainRead
	default:
		if !s.aimAt(r.Dst) {
			return false
		}
	}
	s.req, s.fault = r, nil
	s.gen++
	s.owes.Store(owesRecord)
	return true
}

// aimAt is aim at device memory.
func (s *slot) aimAt(dst transport.Span) bool {
	if s.region = s.conn.link.device.find(dst.Mem); s.region != nil {
		s.direct = true
		s.result = transport.Result{Path: uapi.PathRDMA}
		return true
	}
	if dst.Len > 0 {
		s.region, s.piece = s.conn.device.bounce, s.conn.link.bounce.take(int(dst.Len))
	}
	return dst.Len == 0 || s.piece != nil
}

// request is what the peer is asked.
func (s *slot) request() wire.Request {
	r := s.req
	q := wire.Request{Tag: s.tag(), Checksum: s.conn.link.Session.Checksums}
	if r.Call != nil {
		q.Ask = r.Call.Ask
	} else {
		q.Chained, q.File, q.Off, q.Length = r.Chained, r.File, r.Off, uint32(r.Dst.Len)
	}
	if s.region != nil && (q.Ask != nil || q.Length > 0) {
		q.Addr, q.RKey = s.address(), s.region.RKey
	}
	return q
}

// address is where the peer writes, as the region's keys mean it.
func (s *slot) address() uint64 {
	if s.direct {
		return s.region.Addr + uint64(s.req.Dst.Off)
	}
	return verbs.Addr(s.piece)
}

// accept checks the record that the peer wrote for the slot. An error is the
// connection's end.
func (s *slot) accept(rec wire.Record) error {
	q := s.request()
	switch {
	case rec.Tag != q.Tag || rec.File != q.File || rec.Off != q.Off:
		return fmt.Errorf("%w: record %#x of file %d at %d, for request %#x of file %d at %d", transport.ErrProtocol,
			rec.Tag, rec.File.Handle, rec.Off, q.Tag, q.File.Handle, q.Off)
	case q.Ask != nil && (rec.Length > transport.MaxCall || rec.Status != status.OK && rec.Length > 0):
		return fmt.Errorf("%w: answer of %d bytes, with status %d", transport.ErrProtocol, rec.Length, rec.Status)
	case q.Ask != nil:
		s.piece = s.piece[:rec.Length]
	case rec.Length != q.Length:
		s.fault = fmt.Errorf("%w: record of %d bytes", transport.ErrProtocol, rec.Length)
		return s.fault
	}
	s.record = rec
	return nil
}

var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

// land takes the payload to where the device sees it, and ends the request.
func (s *slot) land() {
	s.conn.Answered(s.index)
	if err := s.verify(); err != nil {
		s.finish(s.conn.link.Failure(s.req.Request, err))
		return
	}
	if call := s.req.Call; call != nil {
		call.Answer = append(call.Answer[:0], s.piece...)
		s.finish(nil)
		return
	}
	if s.direct || s.req.Plain() {
		s.req.Visible(s.visible)
		return
	}
	if s.req.Mapped() == nil {
		s.result.DeviceCopies = 1
	}
	s.req.Dst.Mem.CopyIn(s.req.Dst.Off, s.piece, s.copied)
}

// verify returns why the payload is not to be used.
func (s *slot) verify() error {
	if err := s.record.Status.Err(); err != nil {
		return err
	}
	if s.req.Revoked() {
		return transport.ErrRevoked
	}
	payload, seen := s.payload()
	if !s.conn.link.Session.Checksums || !seen {
		return nil
	}
	if crc := crc32.Checksum(payload, castagnoliTable); crc != s.record.CRC {
		return fmt.Errorf("%w: crc32c %#08x arrived, %#08x was sent", transport.ErrChecksum, crc, s.record.CRC)
	}
	s.result.CRC, s.result.HasCRC = s.record.CRC, true
	return nil
}

// payload is what arrived; seen is false if the CPU can't see it.
func (s *slot) payload() (b []byte, seen bool) {
	if !s.direct {
		return s.piece, true
	}
	b = s.req.Mapped()
	return b, b != nil
}

func (s *slot) onCopied(err error) {
	if err != nil {
		s.landed(err)
		return
	}
	s.req.Visible(s.visible)
}

func (s *slot) onVisible(err error) {
	if err == nil && s.req.Revoked() {
		err = transport.ErrRevoked
	}
	s.landed(err)
}

// landed is called once the device sees the payload, or won't.
func (s *slot) landed(err error) {
	if err != nil {
		err = s.conn.link.Failure(s.req.Request, err)
	}
	s.finish(err)
}

// finish gives the slot's credits back and ends its request, which must be
// answered.
func (s *slot) finish(err error) {
	r, res := s.req, s.result
	if err != nil {
		res = transport.Result{Err: err, Why: res.Why}
	}
	if s.piece != nil && r.Call == nil && !r.Plain() {
		s.conn.link.bounce.give(s.piece)
	}
	s.req, s.region, s.piece = landing.Request{}, nil, nil
	s.conn.Finish(s.index, r.Request, res)
}
