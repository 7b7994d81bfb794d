package rdma

import (
	"bytes"
	"errors"
	"hash/crc32"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
	"hbmfs/transport/transporttest"
)

// called is a connection on which, after a read, a call of n bytes is under way, and
// how it ended.
func called(t *testing.T, n int) (c *conn, s *slot, ended chan transport.Result) {
	t.Helper()
	c, _, _ = asked(t)
	ended = make(chan transport.Result, 1)
	call(t, c, n, func(r transport.Result) { ended <- r })
	return c, &c.slots[1], ended
}

func call(t *testing.T, c *conn, n int, done func(transport.Result)) *transport.Call {
	t.Helper()
	q := &transport.Call{Ask: bytes.Repeat([]byte{'?'}, n), Answer: make([]byte, 0, transport.MaxCall)}
	if c.Add(landing.Request{Request: &transport.Request{Call: q, To: transporttest.Done(done)}}) != lanes.Added {
		t.Fatal("not taken")
	}
	return q
}

// recorded has the peer answer a slot.
func (s *slot) recorded(rec wire.Record, answer []byte) error {
	copy(s.conn.control.answer(s.index), answer)
	wire.AppendRecord(s.conn.control.mailbox(s.index)[:0], rec)
	return s.conn.recorded(&verbs.Completion{Op: verbs.OpRecvWithImm, Imm: uint32(rec.Tag)})
}

func checksumOf(b []byte) uint32 { return crc32.Checksum(b, castagnoliTable) }

// TestCallsShareMessages has as many in each as there is room for. Whoever is not the
// first in his need not wait until it was sent.
func TestCallsShareMessages(t *testing.T) {
	c, _, _ := asked(t)
	for range wire.Batch {
		call(t, c, 100, nil)
	}
	h := &c.out[0]
	if len(h.work) != 2 || h.requests != wire.Batch+1 {
		t.Fatalf("%d messages of %d requests", len(h.work), h.requests)
	}
	next := 0
	for i, w := range h.work {
		message := c.control.outgoing(next)
		if w.Local != verbs.Addr(message) || w.ID != workID(workSend, next) {
			t.Errorf("message %d is not of slot %d: %+v", i, next, w)
		}
		for rest := message[:w.Len]; len(rest) > 0; next++ {
			r, behind, err := wire.ParseRequest(rest)
			if err != nil || r.Tag != c.slots[next].tag() {
				t.Fatalf("%+v, %v", r, err)
			}
			first := len(rest) == int(w.Len)
			if owes := c.slots[next].owes.Load(); (owes&owesSend != 0) != first {
				t.Errorf("slot %d owes %d", next, owes)
			}
			rest = behind
		}
	}
	if next != h.requests {
		t.Errorf("%d of %d requests", next, h.requests)
	}
}

func TestChainedSaysSo(t *testing.T) {
	c, _, _ := called(t, 10)
	r := &transport.Request{File: transport.FileRef{Handle: 1}, Dst: transport.Span{Mem: transporttest.NewMapped(10), Len: 10}, Chained: true}
	c.Add(landing.Request{Request: r, Chained: true})
	q, _, err := wire.ParseRequest(c.out[0].message[2*wire.RequestSize+10:])
	if err != nil || !q.Chained || q.Length != 10 {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestAnswers(t *testing.T) {
	for _, n := range []int{0, 1, transport.MaxCall} {
		c, s, ended := called(t, 10)
		answer := bytes.Repeat([]byte{'!'}, n)
		q := s.req.Call
		if r, _, err := wire.ParseRequest(c.out[0].message[wire.RequestSize:]); err != nil || r.Addr != verbs.Addr(c.control.answer(1)) || r.RKey != 6 {
			t.Fatalf("%+v, %v", r, err)
		}
		if err := s.recorded(wire.Record{Tag: s.tag(), Length: uint32(n), CRC: checksumOf(answer)}, answer); err != nil {
			t.Fatal(err)
		}
		if r := <-ended; r.Err != nil || !bytes.Equal(q.Answer, answer) {
			t.Errorf("%d bytes: %+v, %q", n, r, q.Answer)
		}
	}
}

// TestBadAnswers has a call end with what is no answer, or none.
func TestBadAnswers(t *testing.T) {
	_, s, ended := called(t, 10)
	if err := s.recorded(wire.Record{Tag: s.tag(), Status: status.Source}, nil); err != nil {
		t.Fatal(err)
	}
	if r := <-ended; !errors.Is(r.Err, transport.ErrSource) {
		t.Errorf("a failure: %+v", r)
	}
	_, s, ended = called(t, 10)
	if err := s.recorded(wire.Record{Tag: s.tag(), Length: 3, CRC: 1}, []byte("yes")); err != nil {
		t.Fatal(err)
	}
	if r := <-ended; !errors.Is(r.Err, transport.ErrChecksum) {
		t.Errorf("another checksum: %+v", r)
	}
	for what, rec := range map[string]wire.Record{
		"too long":     {Length: transport.MaxCall + 1},
		"of a failure": {Length: 1, Status: status.Source},
		"of a file":    {File: transport.FileRef{Handle: 1}},
		"at an offset": {Off: 1},
	} {
		c, s, _ := called(t, 10)
		rec.Tag = s.tag()
		if err := s.recorded(rec, nil); !errors.Is(err, transport.ErrProtocol) || !c.Waiting(s.index) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
