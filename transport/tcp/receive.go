package tcp

import (
	"errors"
	"fmt"
	"hash/crc32"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/status"
)

const (
	// inboxSize is what one read of many small replies may bring, in bytes.
	inboxSize = 64 << 10
	// directMin is the payload, in bytes, from which on it is read straight to
	// where it belongs; less goes through the inbox, along with what follows.
	directMin = 16 << 10
	// pieceSize is how much is read at a time, so that the checksum finds it in
	// the CPU's cache.
	pieceSize = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// inbox holds bytes that were read along with what came before them.
type inbox struct {
	buf  []byte
	r, w int
}

// drain moves what there is, up to len(dst), into dst.
func (in *inbox) drain(dst []byte) int {
	n := copy(dst, in.buf[in.r:in.w])
	in.r += n
	return n
}

// reserve makes room for n bytes from r on.
func (in *inbox) reserve(n int) {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.r+n > len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
}

// Receive implements [lanes.Carrier]: it reads replies.
func (c *conn) Receive() error {
	defer c.Deliver()
	for {
		err := c.fill(frame.ReplySize, 0)
		if err == nil {
			err = c.answer()
		}
		if err != nil {
			return lanes.Lost(err)
		}
	}
}

// fill reads until n bytes are in the inbox. While large payloads are to come it
// reads at most ahead more, so that they needn't be copied.
func (c *conn) fill(n, ahead int) error {
	in := &c.in
	for in.w-in.r < n {
		in.reserve(n)
		limit := len(in.buf)
		if c.large.Load() > 0 {
			limit = min(limit, in.r+n+ahead)
		}
		m, err := c.read(in.buf[in.w:limit])
		in.w += m
		if m == 0 && err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) read(b []byte) (int, error) {
	c.Deliver()
	n, err := c.nc.Read(b)
	if n > 0 {
		c.Hold()
		c.Progressed(n)
	}
	return n, err
}

// answer takes one reply, whose header is in the inbox.
func (c *conn) answer() error {
	h, err := frame.ParseReply(c.in.buf[c.in.r:c.in.w])
	if err != nil {
		return err
	}
	c.in.r += frame.ReplySize
	s, err := c.find(h)
	if err != nil {
		return err
	}
	if h.Status != status.OK {
		c.fail(s, fmt.Errorf("target: %w", h.Status.Err()))
		return nil
	}
	if err := h.ExpectFor(s.req.Request, c.link.Session.Checksums); err != nil {
		c.Kill(lanes.Lost(err))
		c.fail(s, err)
		return err
	}
	if s.req.Call != nil {
		return c.takeAnswer(s, h)
	}
	return c.land(s, h)
}

// fail ends the request of s, whose answer is here as far as it will be.
func (c *conn) fail(s *slot, err error) {
	c.settle(s)
	s.finish(c.link.Failure(s.req.Request, err))
}

// takeAnswer takes the answer to a call that h announces. An error is the
// connection's.
func (c *conn) takeAnswer(s *slot, h frame.Reply) error {
	n := int(h.Length)
	if err := c.fill(n, frame.ReplySize); err != nil {
		return err
	}
	answer := c.in.buf[c.in.r : c.in.r+n]
	c.in.r += n
	if err := h.Take(s.req.Call, answer); err != nil {
		c.fail(s, err)
		return nil
	}
	s.result.CRC, s.result.HasCRC = h.CRC, h.Checksum
	c.settle(s)
	s.finish(nil)
	return nil
}

// land brings the payload that h announces to where it belongs. An error is the
// connection's; what is wrong with the payload only is the request's.
func (c *conn) land(s *slot, h frame.Reply) error {
	crc, err := c.payload(s)
	revoked := errors.Is(err, transport.ErrRevoked)
	if err != nil && !revoked {
		return err
	}
	c.settle(s)
	switch {
	case revoked:
	case h.Checksum && crc != h.CRC:
		err = fmt.Errorf("%w: crc32c %#08x arrived, %#08x was sent", transport.ErrChecksum, crc, h.CRC)
	default:
		s.result.CRC, s.result.HasCRC = h.CRC, h.Checksum
		if s.pad.Staged() {
			s.result.DeviceCopies = 1
		}
		s.pad.Commit()
		return nil
	}
	s.pad.Abort()
	s.finish(c.link.Failure(s.req.Request, err))
	return nil
}

// payload reads s's payload and returns its checksum, if one was asked for. Once
// the memory is revoked the rest is read to nowhere, and the error is
// [transport.ErrRevoked].
func (c *conn) payload(s *slot) (crc uint32, err error) {
	dst := s.pad.Begin(s.req)
	checksum := c.link.Session.Checksums
	for n := 0; n < len(dst); {
		if s.pad.Revoked() {
			if err := c.discard(len(dst) - n); err != nil {
				return 0, err
			}
			return 0, transport.ErrRevoked
		}
		m, err := c.piece(dst[n:min(n+pieceSize, len(dst))], len(dst)-n)
		if err != nil {
			return 0, err
		}
		if checksum {
			crc = crc32.Update(crc, castagnoli, dst[n:n+m])
		}
		n += m
	}
	return crc, nil
}

// piece reads some of a payload's rest into dst, which is where it belongs.
func (c *conn) piece(dst []byte, rest int) (int, error) {
	if n := c.in.drain(dst); n > 0 {
		return n, nil
	}
	if rest >= directMin {
		n, err := c.read(dst)
		if n > 0 {
			err = nil
		}
		return n, err
	}
	if err := c.fill(rest, frame.ReplySize); err != nil {
		return 0, err
	}
	return c.in.drain(dst), nil
}

// discard reads n bytes to nowhere.
func (c *conn) discard(n int) error {
	for n > 0 {
		m := min(n, len(c.in.buf))
		if err := c.fill(m, 0); err != nil {
			return err
		}
		c.in.r += m
		n -= m
	}
	return nil
}
