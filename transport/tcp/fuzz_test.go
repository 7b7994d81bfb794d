package tcp

import (
	"bytes"
	"net"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/transporttest"
)

// FuzzReceive has a peer answer with anything while requests are under way:
// each must end once, and nothing outside of the destinations may change.
func FuzzReceive(f *testing.F) {
	answer := func(id uint64, length uint32, payload int) []byte {
		b := make([]byte, frame.ReplySize+payload)
		frame.Reply{ID: id, Length: length}.Put(b)
		return b
	}
	first := uint64(1 << 16) // slot 0, first use
	f.Add(append(answer(first, 100, 100), answer(first|1, 20000, 0)...), uint16(20000))
	f.Add(answer(first|1, 20000, 0), uint16(19999))
	f.Add(append(answer(first, 100, 100), answer(first, 100, 100)...), uint16(0))
	f.Add(answer(first, 99, 99), uint16(0))
	f.Add(answer(depth, 0, 0), uint16(0))
	said := answer(first|2, 5, 5)
	frame.Reply{ID: first | 2, Length: 5, Answer: true}.Put(said)
	f.Add(append(said, answer(first, 100, 100)...), uint16(0))
	frame.Reply{ID: first, Length: 100, Answer: true}.Put(said)
	f.Add(said, uint16(100))
	// zeros follow b, so that a large payload takes no large input
	f.Fuzz(func(t *testing.T, b []byte, zeros uint16) {
		client, server := net.Pipe()
		l := newLink(transport.Session{Connections: 1})
		c := newConn(l, client)
		mem := *transporttest.NewMapped(32 << 10)
		done := 0
		for _, span := range []transport.Span{{Mem: &mem, Off: 100, Len: 100}, {Mem: &mem, Off: 4096, Len: 20000}} {
			c.Add(landing.Request{Request: &transport.Request{Dst: span, To: transporttest.Done(func(transport.Result) { done++ })}})
		}
		ask, _ := newCall([]byte("ask"))
		ask.To = transporttest.Done(func(transport.Result) { done++ })
		c.Add(landing.Request{Request: ask})
		go func() {
			server.Write(append(bytes.Clone(b), make([]byte, zeros)...))
			server.Close()
		}()
		c.End(c.Receive())
		l.Close()
		if done != 3 {
			t.Errorf("%d of 3 requests ended", done)
		}
		for _, outside := range [][]byte{mem[:100], mem[200:4096], mem[24096:]} {
			if !transporttest.Scribbled(outside) {
				t.Error("written outside of the destinations")
			}
		}
	})
}
