package devmemtcp

import (
	"sync"
	"sync/atomic"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
)

// slot is a request under way.
type slot struct {
	conn    *conn
	index   int
	visible func(error)

	req  landing.Request
	gen  uint64       // 48 bits; unique to a use of the slot
	open atomic.Int32 // gathers under way, and one until all payload is here

	mu    sync.Mutex // guards fault
	fault error      // the first

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

func (s *slot) begin(r landing.Request) {
	s.req, s.fault = r, nil
	s.open.Store(1)
	s.gen = (s.gen + 1) & (1<<48 - 1)
	s.at, s.crc, s.hosts, s.reply = 0, 0, false, frame.Reply{}
}

// fail makes err the request's end, unless it has one.
func (s *slot) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.fault = err
	}
}

func (s *slot) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// hold counts a gather.
func (s *slot) hold() { s.open.Add(1) }

// release undoes a hold, or begin. The last one ends the request.
func (s *slot) release() {
	if s.open.Add(-1) > 0 {
		return
	}
	switch err := s.failed(); {
	case err != nil:
		s.finish(err)
	case s.req.Revoked():
		s.finish(transport.ErrRevoked)
	default:
		s.req.Visible(s.visible)
	}
}

func (s *slot) onVisible(err error) {
	if err == nil && s.req.Revoked() {
		err = transport.ErrRevoked
	}
	s.finish(err)
}

func (s *slot) finish(err error) {
	r, res := s.req.Request, s.result()
	if err != nil {
		res = transport.Result{Err: s.conn.link.Failure(r, err), Why: res.Why}
	}
	s.req = landing.Request{}
	s.conn.Finish(s.index, r, res)
}

// result is a success's.
func (s *slot) result() transport.Result {
	res := transport.Result{Path: uapi.PathDevmemTCP, DeviceCopies: 1}
	switch {
	case s.req.Plain():
		res.Path, res.Why = uapi.PathStaged, uapi.WhyPlainRead
		res.HostCopies, res.DeviceCopies = 1, 0
	case s.req.Call != nil:
		res.Path, res.HostCopies, res.DeviceCopies = uapi.PathStaged, 1, 0
	case s.hosts:
		res.Path, res.Why, res.HostCopies = uapi.PathStaged, uapi.WhyNotSteered, 1
	}
	if s.conn.pair.Checked(s.reply) {
		res.CRC, res.HasCRC = s.reply.CRC, true
	}
	return res
}
