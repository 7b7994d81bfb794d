package devmemtcp

import (
	"fmt"
	"io"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/status"
)

// Receive implements [lanes.Carrier].
func (c *conn) Receive() error {
	for {
		h, err := c.pair.Reply()
		if err == nil {
			c.Progressed(frame.ReplySize)
			err = c.answer(h)
		}
		if err != nil {
			return lanes.Lost(err)
		}
	}
}

// answer takes the reply that h announces.
func (c *conn) answer(h frame.Reply) error {
	s, err := c.find(h)
	if err != nil {
		return err
	}
	s.reply = h
	if h.Status != status.OK {
		c.settle(s, fmt.Errorf("target: %w", h.Status.Err()))
		return nil
	}
	if err := h.ExpectFor(s.req.Request, c.link.Session.Checksums); err != nil {
		c.Kill(lanes.Lost(err))
		c.settle(s, err)
		return err
	}
	if s.req.Call != nil {
		return c.takeAnswer(s)
	}
	if err := c.payload(s); err != nil {
		return err
	}
	// A stream without marks that has the wrong bytes may be anywhere.
	err, hosts := c.pair.Verify(h, s.crc), s.hosts
	c.settle(s, err)
	if hosts {
		c.link.suspect(c.rx)
	}
	return err
}

// takeAnswer takes the answer to a call, which lies on the head.
func (c *conn) takeAnswer(s *slot) error {
	b, err := c.pair.Answer(s.reply)
	if err != nil {
		return err
	}
	c.Progressed(len(b))
	c.settle(s, s.reply.Take(s.req.Call, b))
	return nil
}

// settle ends the wait for s's answer: all of it is here, or err is why not.
func (c *conn) settle(s *slot, err error) {
	if err != nil {
		s.fail(err)
	}
	c.answered(s)
	s.release()
}

// find returns the slot that a reply is for. It stays waiting: if the pair is
// lost while its payload comes in, it fails with the others.
func (c *conn) find(h frame.Reply) (*slot, error) {
	i := int(uint16(h.ID))
	if i >= depth || !c.Waiting(i) || c.slots[i].id() != h.ID {
		return nil, fmt.Errorf("%w: reply to a request %#x that is not under way", transport.ErrProtocol, h.ID)
	}
	return &c.slots[i], nil
}

// payload takes s's payload from the data connection, and has it gathered to
// where it belongs.
func (c *conn) payload(s *slot) error {
	for s.at < s.req.Dst.Len {
		g, err := c.idleGather()
		if err != nil {
			return err
		}
		g.begin(s)
		s.hold()
		if err := c.fill(g); err != nil {
			c.Kill(lanes.Lost(err)) // what the tokens' end says comes second
			g.end()
			return err
		}
		c.accept(g)
	}
	return nil
}

// idleGather waits for one while all are under way, which is this host's doing,
// not the peer's.
func (c *conn) idleGather() (*gather, error) {
	select {
	case g := <-c.idle:
		return g, nil
	default:
	}
	interval := max(c.link.Session.Timeout/8, time.Millisecond)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for last := time.Now(); ; {
		var g *gather
		select {
		case g = <-c.idle:
		case <-c.ended:
			return nil, io.ErrClosedPipe
		case <-tick.C:
		}
		now := time.Now()
		c.Progressed(1 + int(float64(now.Sub(last))/float64(interval)*excuse))
		if last = now; g != nil {
			return g, nil
		}
	}
}

// excuse is what an eighth of a session's time-out counts for, in bytes, if this
// host's device is waited for: twice what package lanes wants of a peer meanwhile,
// else that would be blamed.
const excuse = 128 << 10

// fill receives into g until it is half full, or the payload is complete.
func (c *conn) fill(g *gather) error {
	rest := g.slot.req.Dst.Len - g.slot.at
	for g.n < rest && g.room() > fragmentsPerGather/2 && !g.hosts {
		if err := g.receive(rest - g.n); err != nil {
			return err
		}
	}
	return nil
}

// accept has what was received copied to its place, unless the request has
// failed.
func (c *conn) accept(g *gather) {
	s := g.slot
	s.crc = c.pair.Checksum(s.crc, g.parts)
	s.at += g.n
	s.hosts = s.hosts || g.hosts
	switch {
	case s.req.Revoked():
		s.fail(transport.ErrRevoked)
	case s.hosts && c.link.Session.RequireDirect && !s.req.Plain():
		s.fail(receive.ErrNotSteered)
	}
	if s.failed() != nil {
		g.end()
		return
	}
	if g.hosts {
		g.host = c.pair.TakeScratch()
	}
	g.start()
}
