package wire

import (
	"errors"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

var testRequest = Request{
	Tag: NewTag(Depth-1, 0x123456), Checksum: true,
	File: transport.FileRef{Handle: 7, Version: transport.Version{1, 2, 15: 9}},
	Off:  1 << 40, Addr: 0x7f0000001000, Length: 1 << 20, RKey: 0xdeadbeef,
}

var testCall = Request{Tag: 1, Checksum: true, Ask: []byte("what is it?"), Addr: 1 << 40, RKey: 7}

// TestCalls has each be refused that lies about what it asks.
func TestCalls(t *testing.T) {
	fine := AppendRequest(nil, testCall)
	got, rest, err := ParseRequest(append(fine, 1, 2, 3))
	if err != nil || string(got.Ask) != string(testCall.Ask) || string(rest) != "\x01\x02\x03" {
		t.Fatalf("%+v, %d bytes behind it, %v", got, len(rest), err)
	}
	for what, spoil := range map[string]func(b []byte) []byte{
		"nothing":            func(b []byte) []byte { b[48] = 0; return b },
		"too much":           func(b []byte) []byte { b[49] = 5; return append(b, make([]byte, 2*transport.MaxCall)...) },
		"more than there is": func(b []byte) []byte { return b[:len(b)-1] },
		"of a file":          func(b []byte) []byte { b[8] = 1; return b },
		"of a version":       func(b []byte) []byte { b[31] = 1; return b },
		"at an offset":       func(b []byte) []byte { b[32] = 1; return b },
		"past all memory":    func(b []byte) []byte { copy(b[40:], "\x00\xfd\xff\xff\xff\xff\xff\xff"); return b },
		"flags":              func(b []byte) []byte { b[4] |= flagsEnd; return b },
	} {
		if r, _, err := ParseRequest(spoil(append([]byte(nil), fine...))); !errors.Is(err, transport.ErrProtocol) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for what, got := range map[string][2]int{
		"request": {len(AppendRequest(nil, testRequest)), RequestSize},
		"call":    {len(AppendRequest(nil, testCall)), RequestSize + len(testCall.Ask)},
		"record":  {len(AppendRecord(nil, Record{})), RecordSize},
		"connect": {len(AppendConnect(nil, ConnectRequest{}, transport.Secret{})), connectSize},
		"accept":  {len(AppendAccept(nil, 1024, ConnectRequest{}, transport.Secret{})), acceptSize},
		"reject":  {len(AppendReject(nil, RejectSession)), rejectSize},
		"hello":   {len(AppendHello(nil, Hello{})), HelloSize},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d bytes, want %d", what, got[0], got[1])
		}
	}
}

func (t Tag) generation() uint32 { return uint32(t >> 8) }

func TestTagWraps(t *testing.T) {
	last := NewTag(31, generations-1)
	if last.Slot() != 31 || last.generation() != generations-1 || NewTag(31, generations) != NewTag(31, 0) {
		t.Errorf("tag %#x", last)
	}
}

// TestProofs changes each bit of both messages: neither is believed then.
func TestProofs(t *testing.T) {
	s := transporttest.NewSessions().Open(nil)
	r := ConnectRequest{MTU: 4096, Session: s.ID, Nonce: NewNonce()}
	sent := AppendConnect(nil, r, s.Secret)
	got, err := ParseConnect(append(sent, make([]byte, 8)...)) // padded on the way
	if err != nil || got.MTU != 4096 || got.Session != s.ID || got.Nonce != r.Nonce || !got.Proves(s.Secret) {
		t.Fatalf("%+v, %v", got, err)
	}
	if got.Proves(transport.Secret{}) {
		t.Error("Proves a secret that it wasn't made with")
	}
	answer := AppendAccept(nil, 1024, r, s.Secret)
	if mtu, err := ParseAccept(answer, r, s.Secret); err != nil || mtu != 1024 {
		t.Fatalf("%d, %v", mtu, err)
	}
	for bit := range 8 * connectSize {
		sent[bit/8] ^= 1 << (bit % 8)
		if c, err := ParseConnect(sent); err == nil && c.Proves(s.Secret) {
			t.Errorf("believed with bit %d changed", bit)
		}
		sent[bit/8] ^= 1 << (bit % 8)
	}
	for bit := range 8 * acceptSize {
		answer[bit/8] ^= 1 << (bit % 8)
		if _, err := ParseAccept(answer, r, s.Secret); err == nil {
			t.Errorf("answer believed with bit %d changed", bit)
		}
		answer[bit/8] ^= 1 << (bit % 8)
	}
	other := r
	other.Nonce[0] ^= 1
	if _, err := ParseAccept(answer, other, s.Secret); !errors.Is(err, transport.ErrSession) {
		t.Errorf("the answer to another request: %v", err)
	}
}

func TestRejections(t *testing.T) {
	for code, want := range map[RejectCode]error{
		RejectVersion: errVersion, RejectSession: transport.ErrSession, RejectCrowded: transport.ErrConnLost,
		RejectResources: transport.ErrConnLost, RejectMTU: transport.ErrProtocol, RejectPort: transport.ErrConnLost, 99: transport.ErrProtocol,
	} {
		if err := ParseReject(AppendReject(nil, code)); !errors.Is(err, want) {
			t.Errorf("code %d: %v", code, err)
		}
	}
	if err := ParseReject(appendHeader(nil, protocolVersion+1, uint16(RejectSession))); !errors.Is(err, errVersion) {
		t.Errorf("another version: %v", err)
	}
}
