package tcp

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/transporttest"
)

func FuzzParseRequest(f *testing.F) {
	f.Add(appendRequest(nil, request{id: 1, off: 8, length: 4096, checksum: true}))
	f.Add(appendRequest(nil, request{off: -1, length: MaxLen + 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < requestSize {
			return
		}
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if r.length > MaxLen || r.off < 0 || r.off+int64(r.length) < 0 {
			t.Errorf("accepted %+v", r)
		}
		if again := appendRequest(nil, r); !bytes.Equal(again, b[:requestSize]) {
			t.Errorf("%x became %x", b[:requestSize], again)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	for _, r := range []reply{{id: 1, length: 4096, crc: 7, checksum: true}, {status: status.Stale}, {status: status.End}} {
		b := make([]byte, replySize)
		putReply(b, r)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < replySize {
			return
		}
		r, err := parseReply(b)
		if err != nil {
			return
		}
		if r.status != status.OK && (r.status.Err() == nil || r.length != 0) {
			t.Errorf("accepted %+v", r)
		}
		again := make([]byte, replySize)
		if putReply(again, r); !bytes.Equal(again, b[:replySize]) {
			t.Errorf("%x became %x", b[:replySize], again)
		}
	})
}

// FuzzHandshake feeds both sides of it.
func FuzzHandshake(f *testing.F) {
	f.Add(append(appendHello(nil, hello{}), make([]byte, proofSize)...))
	f.Add(append(appendChallenge(nil, nonce{}), appendVerdict(nil, verdictAccepted, make([]byte, proofSize))...))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	sessions := transporttest.NewSessions()
	s := sessions.Open(transporttest.NewSource())
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := admit(script{bytes.NewReader(b)}, sessions); err == nil {
			t.Error("a client was admitted that knows no secret")
		}
		if err := authenticate(script{bytes.NewReader(b)}, s); err == nil {
			t.Error("a server was believed that knows no secret")
		}
	})
}

// script is a peer that says what it says, whatever it hears.
type script struct{ io.Reader }

func (script) Write(b []byte) (int, error) { return len(b), nil }

// FuzzReceive has a peer answer with anything while requests are under way:
// each must end once, and nothing outside of the destinations may change.
func FuzzReceive(f *testing.F) {
	answer := func(id uint64, length uint32, payload int) []byte {
		b := make([]byte, replySize+payload)
		putReply(b, reply{id: id, length: length})
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
	f.Add(appendRequest(nil, request{id: 7, file: file, length: 4096, checksum: true}))
	f.Add(append(appendRequest(nil, request{file: file, off: 1 << 20, length: 1}), 1, 2, 3))
	f.Add(appendRequest(nil, request{length: MaxLen + 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := net.Pipe()
		v := newServing(server, source)
		ended := make(chan error, 1)
		go func() { ended <- v.run() }()
		go func() {
			client.Write(b)
			server.SetReadDeadline(time.Unix(1, 0)) // the end of what it is told
		}()
		var header [replySize]byte
		for {
			if _, err := io.ReadFull(client, header[:]); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			h, err := parseReply(header[:])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, client, int64(h.length)); err != nil {
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
