package rdma

import (
	"fmt"
	"hash/crc32"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/rdma/internal/verbs"
)

// owed is what must complete before the payload may land.
type owed uint8

const (
	owesRecord owed = 1 << iota
	owesSend
)

// slot is a request under way. While the peer has yet to answer, or some of the
// work to complete, it is guarded by conn.Mu; then it belongs to whoever lands
// the payload.
type slot struct {
	conn            *conn
	index           int
	req             *transport.Request
	gen             uint32
	owes            owed
	record          record
	fault           error            // what the peer got wrong about this request
	region          *verbs.MR        // where the peer writes
	direct          bool             // that is the destination itself
	piece           []byte           // of bounce memory; nil if direct or empty
	result          transport.Result // of a success
	copied, visible func(error)
}

func (s *slot) init(c *conn, index int) {
	s.conn, s.index = c, index
	s.copied, s.visible = s.onCopied, s.onVisible
}

func (s *slot) tag() tag { return newTag(s.index, s.gen) }

// aim takes r and decides where the peer writes its payload; seen says whether
// the CPU can address the destination. It reports false if there is no bounce
// memory for it.
func (s *slot) aim(r *transport.Request, seen bool) bool {
	s.region, s.direct, s.piece = nil, false, nil
	s.result = transport.Result{Path: transport.PathStaged, Why: transport.WhyPlainRead, HostCopies: 1}
	if _, host := r.Dst.Mem.(transport.HostMemory); !host {
		s.region = s.conn.link.device.find(r.Dst.Mem)
		s.result.Why = transport.WhyNotRegistered
		if !seen {
			s.result.DeviceCopies = 1
		}
	}
	switch {
	case s.region != nil:
		s.direct = true
		s.result = transport.Result{Path: transport.PathRDMA, Why: s.conn.link.Session.Why}
	case r.Dst.Len > 0:
		s.region = s.conn.device.bounce
		if s.piece = s.conn.link.bounce.take(int(r.Dst.Len)); s.piece == nil {
			return false
		}
	}
	s.req, s.fault = r, nil
	s.gen = (s.gen + 1) % generations
	s.owes = owesRecord | owesSend
	return true
}

// request appends the work that sends the slot's request.
func (s *slot) request(w []verbs.Work) []verbs.Work {
	r := s.req
	q := request{
		tag: s.tag(), checksum: s.conn.link.Session.Checksums, file: r.File, off: r.Off, length: uint32(r.Dst.Len),
	}
	if q.length > 0 {
		q.addr, q.rkey = s.address(), s.region.RKey
	}
	message := appendRequest(s.conn.control.outgoing(s.index), q)
	return append(w, s.conn.control.send(workID(workSend, s.index), message))
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
func (s *slot) accept(rec record) error {
	r := s.req
	switch {
	case rec.tag != s.tag() || rec.file != r.File || rec.off != r.Off:
		return fmt.Errorf("%w: record %#x of file %d at %d, for request %#x of file %d at %d", transport.ErrProtocol,
			rec.tag, rec.file.Handle, rec.off, s.tag(), r.File.Handle, r.Off)
	case int64(rec.length) != r.Dst.Len:
		s.fault = fmt.Errorf("%w: record of %d bytes", transport.ErrProtocol, rec.length)
		return s.fault
	}
	s.record = rec
	s.owes &^= owesRecord
	return nil
}

var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

// land takes the payload to where the device sees it, and ends the request.
func (s *slot) land() {
	s.conn.Answered(s.index)
	if err := s.verify(); err != nil {
		s.finish(s.conn.link.Failure(s.req, err))
		return
	}
	dst := s.req.Dst
	if s.direct {
		dst.Mem.Visible(s.visible)
		return
	}
	dst.Mem.CopyIn(dst.Off, s.piece, s.copied)
}

// verify returns why the payload is not to be used.
func (s *slot) verify() error {
	if err := s.record.status.Err(); err != nil {
		return err
	}
	if landing.Revoked(s.req.Dst.Mem) {
		return transport.ErrRevoked
	}
	payload, seen := s.payload()
	if !s.conn.link.Session.Checksums || !seen {
		return nil
	}
	if crc := crc32.Checksum(payload, castagnoliTable); crc != s.record.crc {
		return fmt.Errorf("%w: crc32c %#08x arrived, %#08x was sent", transport.ErrChecksum, crc, s.record.crc)
	}
	s.result.CRC, s.result.HasCRC = s.record.crc, true
	return nil
}

// payload is what arrived; seen is false if the CPU can't see it.
func (s *slot) payload() (b []byte, seen bool) {
	if !s.direct {
		return s.piece, true
	}
	dst := s.req.Dst
	if b = dst.Mem.Bytes(); b == nil {
		return nil, false
	}
	return b[dst.Off : dst.Off+dst.Len], true
}

func (s *slot) onCopied(err error) {
	if err != nil {
		s.landed(err)
		return
	}
	s.req.Dst.Mem.Visible(s.visible)
}

func (s *slot) onVisible(err error) {
	if err == nil && landing.Revoked(s.req.Dst.Mem) {
		err = transport.ErrRevoked
	}
	s.landed(err)
}

// landed is called once the device sees the payload, or won't.
func (s *slot) landed(err error) {
	if err != nil {
		err = s.conn.link.Failure(s.req, err)
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
	if s.piece != nil {
		s.conn.link.bounce.give(s.piece)
	}
	s.req, s.region, s.piece = nil, nil, nil
	s.conn.Finish(s.index, r, res)
}
