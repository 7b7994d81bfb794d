package wire

import (
	"bytes"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
)

// FuzzParseRequest feeds a message: its requests are the same again, and within
// bounds, up to where it is refused.
func FuzzParseRequest(f *testing.F) {
	f.Add(AppendRequest(nil, testRequest))
	f.Add(AppendRequest(nil, Request{Off: -1, Length: MaxLen + 1, Addr: ^uint64(0)}))
	f.Add(AppendRequest(AppendRequest(nil, testCall), Request{Tag: 2, Chained: true, Length: 4096}))
	f.Add(AppendRequest(nil, testCall)[:RequestSize+1])
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			r, rest, err := ParseRequest(b)
			if err != nil {
				return
			}
			if r.Length > MaxLen || r.Off < 0 || r.Off+int64(r.Length) < 0 || r.Tag.Slot() >= Depth || r.Addr+uint64(r.Length) < r.Addr {
				t.Errorf("accepted %+v", r)
			}
			if r.Ask != nil && (len(r.Ask) < 1 || len(r.Ask) > transport.MaxCall || r.Length > 0 || r.Addr+transport.MaxCall < r.Addr) {
				t.Errorf("accepted %+v", r)
			}
			if again := AppendRequest(nil, r); !bytes.Equal(again, b[:len(b)-len(rest)]) {
				t.Errorf("%x became %x", b, again)
			}
			b = rest
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add(AppendRecord(nil, Record{Tag: 1 << 8, Length: 4096, CRC: 7}))
	f.Add(AppendRecord(nil, Record{Status: status.Stale}))
	f.Add(AppendRecord(nil, Record{Status: status.End}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < RecordSize {
			return
		}
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		if r.Status != status.OK && (r.Status.Err() == nil || r.CRC != 0) {
			t.Errorf("accepted %+v", r)
		}
		if again := AppendRecord(nil, r); !bytes.Equal(again, b[:RecordSize]) {
			t.Errorf("%x became %x", b[:RecordSize], again)
		}
	})
}

// FuzzSetUp feeds each parser of the set-up: none believes a peer that knows no
// secret.
func FuzzSetUp(f *testing.F) {
	secret := transport.Secret{31: 1}
	f.Add(AppendConnect(nil, ConnectRequest{MTU: 1024}, transport.Secret{}))
	f.Add(AppendAccept(nil, 1024, ConnectRequest{}, transport.Secret{}))
	f.Add(AppendReject(nil, RejectSession))
	f.Add(AppendHello(nil, Hello{Mailbox: 1, Proof: 2, RKey: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseConnect(b); err == nil && r.Proves(secret) {
			t.Error("a client was believed that knows no secret")
		}
		if _, err := ParseAccept(b, ConnectRequest{}, secret); err == nil {
			t.Error("a server was believed that knows no secret")
		}
		if ParseReject(b) == nil {
			t.Error("a refusal that means nothing")
		}
		if h, err := ParseHello(b); err == nil && !bytes.Equal(AppendHello(nil, h), b) {
			t.Errorf("%+v from other bytes", h)
		}
	})
}
