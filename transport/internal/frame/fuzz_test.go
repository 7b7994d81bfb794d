package frame

import (
	"bytes"
	"io"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/transporttest"
)

var testShake = Handshake{Magic: [4]byte{'T', 'E', 'S', 'T'}, Version: 1, What: "test", Client: "client", Server: "server"}

func FuzzParseRequest(f *testing.F) {
	f.Add(Request{ID: 1, Off: 8, Length: 4096, Checksum: true}.Append(nil))
	f.Add(Request{Off: -1, Length: MaxLen + 1}.Append(nil))
	f.Add(Request{ID: 2, Call: true, Length: transport.MaxCall, Linked: true}.Append(nil))
	f.Add(Request{Call: true}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < RequestSize {
			return
		}
		r, err := ParseRequest(b)
		if err != nil {
			return
		}
		if r.Call && (r.AskLen() < 1 || r.AskLen() > transport.MaxCall || r.File.Handle != 0) {
			t.Errorf("accepted %+v", r)
		}
		if r.Length > MaxLen || r.Off < 0 || r.Off+int64(r.Length) < 0 {
			t.Errorf("accepted %+v", r)
		}
		if again := r.Append(nil); !bytes.Equal(again, b[:RequestSize]) {
			t.Errorf("%x became %x", b[:RequestSize], again)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	for _, r := range []Reply{{ID: 1, Length: 4096, CRC: 7, Checksum: true}, {Length: transport.MaxCall, Answer: true}, {Status: status.Stale}, {Status: status.End}} {
		b := make([]byte, ReplySize)
		r.Put(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < ReplySize {
			return
		}
		r, err := ParseReply(b)
		if err != nil {
			return
		}
		if r.Status != status.OK && (r.Status.Err() == nil || r.Length != 0) || r.Answer && r.Length > transport.MaxCall {
			t.Errorf("accepted %+v", r)
		}
		again := make([]byte, ReplySize)
		if r.Put(again); !bytes.Equal(again, b[:ReplySize]) {
			t.Errorf("%x became %x", b[:ReplySize], again)
		}
	})
}

// FuzzHandshake feeds both sides of it.
func FuzzHandshake(f *testing.F) {
	f.Add(append(testShake.appendHello(nil, hello{}), make([]byte, ProofSize)...))
	f.Add(append(testShake.appendChallenge(nil, nonce{}), appendVerdict(nil, verdictAccepted, make([]byte, ProofSize))...))
	f.Add(appendWhy(append(testShake.appendChallenge(nil, nonce{}), appendVerdict(nil, verdictCrowded, make([]byte, ProofSize))...), io.EOF))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	sessions := transporttest.NewSessions()
	s := sessions.Open(transporttest.NewSource())
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := testShake.Admit(script{bytes.NewReader(b)}, sessions, anyone); err == nil {
			t.Error("a client was admitted that knows no secret")
		}
		if err := testShake.Authenticate(script{bytes.NewReader(b)}, s); err == nil {
			t.Error("a server was believed that knows no secret")
		}
	})
}

// script is a peer that says what it says, whatever it hears.
type script struct{ io.Reader }

func (script) Write(b []byte) (int, error) { return len(b), nil }
