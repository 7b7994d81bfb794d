package tcp

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
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
	// zeros follow b, so that a large payload takes no large input
	f.Fuzz(func(t *testing.T, b []byte, zeros uint16) {
		client, server := net.Pipe()
		l := newLink(transport.Session{Connections: 1})
		c := newConn(l, client)
		mem := make(transport.HostMemory, 32<<10)
		transporttest.Scribble(mem)
		done := 0
		for _, span := range []transport.Span{{Mem: mem, Off: 100, Len: 100}, {Mem: mem, Off: 4096, Len: 20000}} {
			c.Add(&transport.Request{Dst: span, Done: func(transport.Result) { done++ }})
		}
		go func() {
			server.Write(append(bytes.Clone(b), make([]byte, zeros)...))
			server.Close()
		}()
		c.Retire(c.Receive())
		l.Close()
		if done != 2 {
			t.Errorf("%d of 2 requests ended", done)
		}
		for _, outside := range [][]byte{mem[:100], mem[200:4096], mem[24096:]} {
			if !transporttest.Scribbled(outside) {
				t.Error("written outside of the destinations")
			}
		}
	})
}

// FuzzServe has a client ask for anything: what comes back is whole replies.
func FuzzServe(f *testing.F) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	f.Add(frame.Request{ID: 7, File: file, Length: 4096, Checksum: true}.Append(nil))
	f.Add(append(frame.Request{File: file, Off: 1 << 20, Length: 1}.Append(nil), 1, 2, 3))
	f.Add(frame.Request{Length: MaxLen + 1}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := net.Pipe()
		v := newServing(server, source)
		ended := make(chan error, 1)
		go func() { ended <- v.run() }()
		go func() {
			client.Write(b)
			server.SetReadDeadline(time.Unix(1, 0)) // the end of what it is told
		}()
		var header [frame.ReplySize]byte
		for {
			if _, err := io.ReadFull(client, header[:]); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			h, err := frame.ParseReply(header[:])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, client, int64(h.Length)); err != nil {
				t.Fatal(err)
			}
		}
		<-ended
		client.Close()
		if !v.budget.TryAcquire(stagingLimit) {
			t.Error("some of the staging budget is lost")
		}
	})
}
