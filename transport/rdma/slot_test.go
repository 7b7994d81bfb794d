package rdma

import (
	"errors"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
)

// asked returns a connection without a queue pair, on which one request of 100
// bytes is under way, and the record that answers it.
func asked(t *testing.T) (*conn, *slot, record) {
	t.Helper()
	l := &link{bounce: testBounce(t, 1<<20)}
	l.Init(lanes.Config{Session: transport.Session{Checksums: true}})
	c := newConn(l)
	c.device = &opened{bounce: &verbs.MR{RKey: 7}}
	c.control.mem = make([]byte, controlSize)
	c.control.out = &verbs.MR{LKey: 8}
	file := transport.FileRef{Handle: 3, Version: transport.Version{5}}
	r := &transport.Request{File: file, Off: 4096, Dst: transport.Span{Mem: make(transport.HostMemory, 200), Off: 50, Len: 100}}
	if c.Add(r) != lanes.Added {
		t.Fatal("not taken")
	}
	s := &c.slots[0]
	return c, s, record{tag: s.tag(), length: 100, file: file, off: 4096}
}

func TestRequestSaysWhereToWrite(t *testing.T) {
	c, s, rec := asked(t)
	if len(c.pending) != 1 || c.sends != 1 || s.result.Path != transport.PathStaged {
		t.Fatalf("pending %+v, %+v", c.pending, s.result)
	}
	got, err := parseRequest(c.control.outgoing(0)[:requestSize])
	want := request{tag: rec.tag, checksum: true, file: rec.file, off: rec.off, addr: verbs.Addr(s.piece), length: 100, rkey: 7}
	if err != nil || got != want {
		t.Errorf("%+v, want %+v: %v", got, want, err)
	}
}

// TestRecordsMustAgree spoils one thing of a record at a time.
func TestRecordsMustAgree(t *testing.T) {
	for what, spoil := range map[string]func(*record, *tag){
		"tag":        func(r *record, _ *tag) { r.tag++ },
		"immediate":  func(_ *record, imm *tag) { *imm = newTag(imm.slot(), imm.generation()+1) },
		"slot":       func(_ *record, imm *tag) { *imm = newTag(depth, imm.generation()) },
		"other slot": func(_ *record, imm *tag) { *imm = newTag(1, 0) },
		"handle":     func(r *record, _ *tag) { r.file.Handle++ },
		"version":    func(r *record, _ *tag) { r.file.Version[15]++ },
		"offset":     func(r *record, _ *tag) { r.off++ },
		"length":     func(r *record, _ *tag) { r.length-- },
		"status":     func(r *record, _ *tag) { r.status = status.End },
	} {
		c, s, rec := asked(t)
		imm := rec.tag
		spoil(&rec, &imm)
		appendRecord(c.control.mailbox(s.index)[:0], rec)
		err := c.recorded(&verbs.Completion{Op: verbs.OpRecvWithImm, Imm: uint32(imm)})
		if !errors.Is(err, transport.ErrProtocol) || !c.Waiting(s.index) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRecordTwice has a record come twice: the second is no answer.
func TestRecordTwice(t *testing.T) {
	c, s, rec := asked(t)
	appendRecord(c.control.mailbox(s.index)[:0], rec)
	w := &verbs.Completion{Op: verbs.OpRecvWithImm, Imm: uint32(rec.tag)}
	if err := c.recorded(w); err != nil || s.owes != owesSend {
		t.Fatalf("%v, owes %d", err, s.owes)
	}
	if err := c.recorded(w); !errors.Is(err, transport.ErrProtocol) {
		t.Errorf("the same again: %v", err)
	}
}

func TestFlushIsNoSuccess(t *testing.T) {
	c, s, rec := asked(t)
	err := c.completed(&verbs.Completion{ID: workID(workReceive, 0), Status: verbs.StatusFlushed, Op: verbs.OpRecvWithImm, Imm: uint32(rec.tag)})
	if !errors.Is(err, transport.ErrConnLost) || s.owes&owesRecord == 0 {
		t.Errorf("%v, owes %d", err, s.owes)
	}
}

// TestBounceIsACredit submits more than bounce memory holds.
func TestBounceIsACredit(t *testing.T) {
	c, s, _ := asked(t)
	r := &transport.Request{Dst: transport.Span{Mem: make(transport.HostMemory, 1<<20), Len: 1 << 20}}
	if got := c.Add(r); got != lanes.NoCredit {
		t.Errorf("a request without room for its payload: %d", got)
	}
	s.req.Done = func(transport.Result) {}
	c.Answered(s.index)
	s.finish(nil)
	if got := c.Add(r); got != lanes.Added {
		t.Errorf("one with room: %d", got)
	}
}
