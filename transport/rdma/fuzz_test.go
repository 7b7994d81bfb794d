package rdma

import (
	"bytes"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
)

func FuzzParseRequest(f *testing.F) {
	f.Add(appendRequest(nil, testRequest))
	f.Add(appendRequest(nil, request{off: -1, length: MaxLen + 1, addr: ^uint64(0)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if r.length > MaxLen || r.off < 0 || r.off+int64(r.length) < 0 || r.tag.slot() >= depth || r.addr+uint64(r.length) < r.addr {
			t.Errorf("accepted %+v", r)
		}
		if again := appendRequest(nil, r); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add(appendRecord(nil, record{tag: 1 << 8, length: 4096, crc: 7}))
	f.Add(appendRecord(nil, record{status: status.Stale}))
	f.Add(appendRecord(nil, record{status: status.End}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < recordSize {
			return
		}
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		if r.status != status.OK && (r.status.Err() == nil || r.crc != 0) {
			t.Errorf("accepted %+v", r)
		}
		if again := appendRecord(nil, r); !bytes.Equal(again, b[:recordSize]) {
			t.Errorf("%x became %x", b[:recordSize], again)
		}
	})
}

// FuzzSetUp feeds each parser of the set-up: none believes a peer that knows no
// secret.
func FuzzSetUp(f *testing.F) {
	secret := transport.Secret{31: 1}
	f.Add(appendConnect(nil, connectRequest{mtu: 1024}, transport.Secret{}))
	f.Add(appendAccept(nil, 1024, connectRequest{}, transport.Secret{}))
	f.Add(appendReject(nil, rejectSession))
	f.Add(appendHello(nil, hello{depth: depth, mailbox: 1, proof: 2, rkey: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseConnect(b); err == nil && r.proves(secret) {
			t.Error("a client was believed that knows no secret")
		}
		if _, err := parseAccept(b, connectRequest{}, secret); err == nil {
			t.Error("a server was believed that knows no secret")
		}
		if parseReject(b) == nil {
			t.Error("a refusal that means nothing")
		}
		if h, err := parseHello(b); err == nil && !bytes.Equal(appendHello(nil, h), b) {
			t.Errorf("%+v from other bytes", h)
		}
	})
}
