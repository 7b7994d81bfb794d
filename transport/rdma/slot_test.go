package rdma

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
	"hbmfs/transport/transporttest"
)

// asked returns a connection without a queue pair, on which one request of 100
// bytes is under way, and the record that answers it.
func asked(t *testing.T) (*conn, *slot, wire.Record) {
	t.Helper()
	l := &link{bounce: testBounce(t, 1<<20)}
	l.Init(lanes.Config{Session: transport.Session{Checksums: true}})
	c := newConn(l)
	c.device = &opened{bounce: &verbs.MR{RKey: 7}}
	c.control.mem = make([]byte, controlSize)
	c.control.in, c.control.out = &verbs.MR{RKey: 6}, &verbs.MR{LKey: 8}
	file := transport.FileRef{Handle: 3, Version: transport.Version{5}}
	r := &transport.Request{File: file, Off: 4096, Dst: transport.Span{Mem: transporttest.NewMapped(200), Off: 50, Len: 100}}
	if c.Add(landing.Request{Request: r}) != lanes.Added {
		t.Fatal("not taken")
	}
	s := &c.slots[0]
	return c, s, wire.Record{Tag: s.tag(), Length: 100, File: file, Off: 4096}
}

func TestRequestSaysWhereToWrite(t *testing.T) {
	c, s, rec := asked(t)
	if len(c.out[0].work) != 1 || s.result.Path != uapi.PathStaged {
		t.Fatalf("pending %+v, %+v", c.out[0], s.result)
	}
	got, _, err := wire.ParseRequest(c.out[0].message)
	want := wire.Request{Tag: rec.Tag, Checksum: true, File: rec.File, Off: rec.Off, Addr: verbs.Addr(s.piece), Length: 100, RKey: 7}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v: %v", got, want, err)
	}
}

// TestRecordsMustAgree spoils one thing of a record at a time.
func TestRecordsMustAgree(t *testing.T) {
	for what, spoil := range map[string]func(*wire.Record, *wire.Tag){
		"tag":        func(r *wire.Record, _ *wire.Tag) { r.Tag++ },
		"immediate":  func(_ *wire.Record, imm *wire.Tag) { *imm = wire.NewTag(imm.Slot(), uint32(*imm>>8)+1) },
		"slot":       func(_ *wire.Record, imm *wire.Tag) { *imm = wire.NewTag(wire.Depth, uint32(*imm>>8)) },
		"other slot": func(_ *wire.Record, imm *wire.Tag) { *imm = wire.NewTag(1, 0) },
		"handle":     func(r *wire.Record, _ *wire.Tag) { r.File.Handle++ },
		"version":    func(r *wire.Record, _ *wire.Tag) { r.File.Version[15]++ },
		"offset":     func(r *wire.Record, _ *wire.Tag) { r.Off++ },
		"length":     func(r *wire.Record, _ *wire.Tag) { r.Length-- },
		"status":     func(r *wire.Record, _ *wire.Tag) { r.Status = status.End },
	} {
		c, s, rec := asked(t)
		imm := rec.Tag
		spoil(&rec, &imm)
		wire.AppendRecord(c.control.mailbox(s.index)[:0], rec)
		err := c.recorded(&verbs.Completion{Op: verbs.OpRecvWithImm, Imm: uint32(imm)})
		if !errors.Is(err, transport.ErrProtocol) || !c.Waiting(s.index) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRecordTwice has a record come twice: the second is no answer.
func TestRecordTwice(t *testing.T) {
	c, s, rec := asked(t)
	wire.AppendRecord(c.control.mailbox(s.index)[:0], rec)
	w := &verbs.Completion{Op: verbs.OpRecvWithImm, Imm: uint32(rec.Tag)}
	if err := c.recorded(w); err != nil || s.owes.Load() != owesSend {
		t.Fatalf("%v, owes %d", err, s.owes.Load())
	}
	if err := c.recorded(w); !errors.Is(err, transport.ErrProtocol) {
		t.Errorf("the same again: %v", err)
	}
}

func TestFlushIsNoSuccess(t *testing.T) {
	c, s, rec := asked(t)
	err := c.completed(&verbs.Completion{ID: workID(workReceive, 0), Status: verbs.StatusFlushed, Op: verbs.OpRecvWithImm, Imm: uint32(rec.Tag)})
	if !errors.Is(err, transport.ErrConnLost) || s.owes.Load()&owesRecord == 0 {
		t.Errorf("%v, owes %d", err, s.owes.Load())
	}
}

// TestBounceIsACredit submits more than bounce memory holds.
func TestBounceIsACredit(t *testing.T) {
	c, s, _ := asked(t)
	r := landing.Request{Request: &transport.Request{Dst: transport.Span{Mem: transporttest.NewMapped(1 << 20), Len: 1 << 20}}}
	if got := c.Add(r); got != lanes.NoCredit {
		t.Errorf("a request without room for its payload: %d", got)
	}
	s.req.To = transporttest.Done(func(transport.Result) {})
	c.Answered(s.index)
	s.finish(nil)
	if got := c.Add(r); got != lanes.Added {
		t.Errorf("one with room: %d", got)
	}
}

// TestPlainReadsHaveMemoryOfTheirOwn has the peer write where the caller reads.
func TestPlainReadsHaveMemoryOfTheirOwn(t *testing.T) {
	c, _, _ := asked(t)
	c.device.reads = &verbs.MR{RKey: 9}
	buf := &readBuffer{of: testBounce(t, bouncePage)}
	buf.piece = buf.of.take(100)
	r := landing.NewRead(transport.FileRef{Handle: 3}, 4096, buf)
	if c.Add(r.Request()) != lanes.Added {
		t.Fatal("not taken")
	}
	s := &c.slots[1]
	got, _, err := wire.ParseRequest(c.out[0].message[wire.RequestSize:])
	if err != nil || got.Addr != verbs.Addr(buf.piece) || got.RKey != 9 || got.Length != 100 {
		t.Errorf("%+v, %v", got, err)
	}
	c.Answered(s.index)
	s.finish(nil)
	b, res := r.Wait(t.Context(), time.Now().Add(time.Minute))
	if res.Err != nil || res.Why != uapi.WhyPlainRead || &b.Bytes()[0] != &buf.piece[0] {
		t.Fatalf("%+v", res)
	}
	memory := buf.of
	if memory.take(1) != nil {
		t.Error("the buffer was given away while its caller reads it")
	}
	if b.Release(); memory.take(1) == nil {
		t.Error("the buffer is not given back")
	}
}
