package devmemtcp

import (
	"fmt"
	"hash/crc32"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// slot is a request under way.
type slot struct {
	conn    *conn
	index   int
	visible func(error)

	// Guarded by conn.Mu:
	req   *transport.Request
	gen   uint64 // 48 bits; unique to a use of the slot
	open  int    // gathers under way, and one until all payload is here
	fault error  // the first

	// The reader's, until all payload is here:
	at    int64  // how much of it is
	crc   uint32 // of that
	hosts bool   // some of it did not land in device memory
	reply frame.Reply
}

func (s *slot) init(c *conn, index int) {
	s.conn, s.index = c, index
	s.visible = s.onVisible
}

func (s *slot) id() uint64 { return s.gen<<16 | uint64(s.index) }

// begin is called with conn.Mu held.
func (s *slot) begin(r *transport.Request) {
	s.req, s.open, s.fault = r, 1, nil
	s.gen = (s.gen + 1) & (1<<48 - 1)
	s.at, s.crc, s.hosts, s.reply = 0, 0, false, frame.Reply{}
}

// fail makes err the request's end, unless it has one.
func (s *slot) fail(err error) {
	s.conn.Mu.Lock()
	defer s.conn.Mu.Unlock()
	if s.fault == nil {
		s.fault = err
	}
}

func (s *slot) failed() error {
	s.conn.Mu.Lock()
	defer s.conn.Mu.Unlock()
	return s.fault
}

// hold counts a gather.
func (s *slot) hold() {
	s.conn.Mu.Lock()
	defer s.conn.Mu.Unlock()
	s.open++
}

// release undoes a hold, or begin. The last one ends the request.
func (s *slot) release() {
	s.conn.Mu.Lock()
	s.open--
	last, err := s.open == 0, s.fault
	s.conn.Mu.Unlock()
	switch {
	case !last:
	case err != nil:
		s.finish(err)
	case landing.Revoked(s.req.Dst.Mem):
		s.finish(transport.ErrRevoked)
	default:
		s.req.Dst.Mem.Visible(s.visible)
	}
}

func (s *slot) onVisible(err error) {
	if err == nil && landing.Revoked(s.req.Dst.Mem) {
		err = transport.ErrRevoked
	}
	s.finish(err)
}

func (s *slot) finish(err error) {
	r, res := s.req, s.result()
	if err != nil {
		res = transport.Result{Err: s.conn.link.Failure(r, err), Why: res.Why}
	}
	s.conn.Mu.Lock()
	s.req = nil
	s.conn.Mu.Unlock()
	s.conn.Finish(s.index, r, res)
}

// result is a success's.
func (s *slot) result() transport.Result {
	res := transport.Result{Path: transport.PathDevmemTCP, Why: s.conn.link.Session.Why, DeviceCopies: 1}
	switch {
	case isHost(s.req.Dst.Mem):
		res.Path, res.Why = transport.PathStaged, transport.WhyPlainRead
		res.HostCopies, res.DeviceCopies = 1, 0
	case s.hosts:
		res.Path, res.Why, res.HostCopies = transport.PathStaged, transport.WhyNotSteered, 1
	}
	if s.reply.Checksum && s.conn.rx.readable() {
		res.CRC, res.HasCRC = s.reply.CRC, true
	}
	return res
}

// verify returns an error wrapping [transport.ErrChecksum] if other bytes came
// than were sent.
func (s *slot) verify() error {
	if s.reply.Checksum && s.conn.rx.readable() && s.crc != s.reply.CRC {
		return fmt.Errorf("%w: crc32c %#08x arrived, %#08x was sent", transport.ErrChecksum, s.crc, s.reply.CRC)
	}
	return nil
}
