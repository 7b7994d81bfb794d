package frame

import (
	"bytes"
	"errors"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// TestRequests adds a call, two reads that are chained to it, and another call.
func TestRequests(t *testing.T) {
	ask := bytes.Repeat([]byte{7}, transport.MaxCall)
	call := landing.Request{Request: &transport.Request{Call: &transport.Call{Ask: ask}}}
	read := landing.Request{Request: &transport.Request{File: transport.FileRef{Handle: 3}, Off: 8, Dst: transport.Span{Len: 16}}, Chained: true}
	q := NewRequests(4)
	for range 2 { // the second time in the same memory
		for i, r := range []landing.Request{call, read, read, call} {
			q.Add(uint64(i), r, true)
		}
		b := q.Bytes
		for i, want := range []Request{
			{ID: 0, Call: true, Length: transport.MaxCall, Linked: true, Checksum: true},
			{ID: 1, File: read.File, Off: 8, Length: 16, Linked: true, Checksum: true},
			{ID: 2, File: read.File, Off: 8, Length: 16, Checksum: true},
			{ID: 3, Call: true, Length: transport.MaxCall, Checksum: true},
		} {
			r, err := ParseRequest(b)
			if err != nil || r != want {
				t.Fatalf("%d: %+v, %v", i, r, err)
			}
			if n := r.AskLen(); !bytes.Equal(b[RequestSize:RequestSize+n], ask[:n]) {
				t.Errorf("%d: another ask", i)
			}
			b = b[RequestSize+r.AskLen():]
		}
		if len(b) != 0 {
			t.Errorf("%d bytes more", len(b))
		}
		q.Reset()
	}
}

func TestAnswers(t *testing.T) {
	call := &transport.Request{Call: &transport.Call{Answer: make([]byte, 0, transport.MaxCall)}}
	read := &transport.Request{Dst: transport.Span{Len: 5}}
	answer := Reply{Length: 5, CRC: 0x9a71bb4c, Answer: true, Checksum: true} // of "hello"
	if err := answer.ExpectFor(call, true); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		to       *transport.Request
		reply    Reply
		checksum bool
	}{{read, answer, true}, {call, answer, false}, {call, Reply{Length: 5, Checksum: true}, true}, {read, Reply{Length: 4}, false}} {
		if err := c.reply.ExpectFor(c.to, c.checksum); !errors.Is(err, transport.ErrProtocol) {
			t.Errorf("%+v: %v", c.reply, err)
		}
	}
	if err := answer.Take(call.Call, []byte("hello")); err != nil || string(call.Call.Answer) != "hello" {
		t.Errorf("%q, %v", call.Call.Answer, err)
	}
	call.Call.Answer = call.Call.Answer[:0]
	if err := answer.Take(call.Call, []byte("hallo")); !errors.Is(err, transport.ErrChecksum) || len(call.Call.Answer) != 0 {
		t.Errorf("%q, %v", call.Call.Answer, err)
	}
}
