package devmemtcp

import (
	"fmt"
	"io"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/status"
)

// errNotSteered says what to look at.
var errNotSteered = fmt.Errorf("%w: payload came by another interface or queue than those taken, or was not split from its headers;"+
	" see whether the target is reached by the NIC, and its flow rules and tcp-data-split", transport.ErrNotDirect)

// Receive implements [lanes.Carrier].
func (c *conn) Receive() error {
	for {
		err := c.fillHead()
		if err == nil {
			err = c.answer()
		}
		if err != nil {
			return lanes.Lost(err)
		}
	}
}

// fillHead reads until there is a whole header.
func (c *conn) fillHead() error {
	for c.w-c.r < frame.ReplySize {
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
		n, err := c.head.Read(c.in[c.w:])
		c.w += n
		c.Progressed(n)
		if n == 0 && err != nil {
			return err
		}
	}
	return nil
}

// answer takes one reply, whose header has come.
func (c *conn) answer() error {
	h, err := frame.ParseReply(c.in[c.r:c.w])
	if err != nil {
		return err
	}
	c.r += frame.ReplySize
	s, err := c.find(h)
	if err != nil {
		return err
	}
	s.reply = h
	if h.Status != status.OK {
		c.settle(s, fmt.Errorf("target: %w", h.Status.Err()))
		return nil
	}
	if err := h.Expect(s.req.Dst.Len, c.link.Session.Checksums); err != nil {
		c.Kill(lanes.Lost(err))
		c.settle(s, err)
		return err
	}
	if err := c.payload(s); err != nil {
		return err
	}
	// A stream without marks that has the wrong bytes may be anywhere.
	err, hosts := s.verify(), s.hosts
	c.settle(s, err)
	if hosts {
		c.link.suspect(c.rx)
	}
	return err
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
	c.Mu.Lock()
	defer c.Mu.Unlock()
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
		err = c.fill(g)
		g.count()
		if err != nil {
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
		host := c.scratch.B[:min(rest-g.n, int64(len(c.scratch.B)))]
		n, controls, err := c.data.Receive(host, c.control[:g.room()*controlSize])
		c.link.recvmsgs.Add(1)
		switch {
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		c.Progressed(n)
		if err := g.add(n, c.control[:controls]); err != nil {
			return err
		}
	}
	return nil
}

// accept has what was received copied to its place, unless the request has
// failed.
func (c *conn) accept(g *gather) {
	s := g.slot
	if c.link.Session.Checksums && c.rx.readable() {
		s.crc = g.checksum(s.crc, c.scratch.B)
	}
	s.at += g.n
	s.hosts = s.hosts || g.hosts
	switch {
	case landing.Revoked(s.req.Dst.Mem):
		s.fail(transport.ErrRevoked)
	case s.hosts && c.link.Session.RequireDirect && !isHost(s.req.Dst.Mem):
		s.fail(errNotSteered)
	}
	if s.failed() != nil {
		g.end()
		return
	}
	if g.hosts {
		g.host, c.scratch = c.scratch, landing.GetBuffer(scratchSize)
	}
	g.start()
}
