package rdma

import (
	"errors"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

var testRequest = request{
	tag: newTag(depth-1, 0x123456), checksum: true,
	file: transport.FileRef{Handle: 7, Version: transport.Version{1, 2, 15: 9}},
	off:  1 << 40, addr: 0x7f0000001000, length: 1 << 20, rkey: 0xdeadbeef,
}

func TestSizes(t *testing.T) {
	for what, got := range map[string][2]int{
		"request": {len(appendRequest(nil, testRequest)), requestSize},
		"record":  {len(appendRecord(nil, record{})), recordSize},
		"connect": {len(appendConnect(nil, connectRequest{}, transport.Secret{})), connectSize},
		"accept":  {len(appendAccept(nil, 1024, connectRequest{}, transport.Secret{})), acceptSize},
		"reject":  {len(appendReject(nil, rejectSession)), rejectSize},
		"hello":   {len(appendHello(nil, hello{})), helloSize},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d bytes, want %d", what, got[0], got[1])
		}
	}
}

func TestTagWraps(t *testing.T) {
	last := newTag(31, generations-1)
	if last.slot() != 31 || last.generation() != generations-1 || newTag(31, generations) != newTag(31, 0) {
		t.Errorf("tag %#x", last)
	}
}

// TestProofs changes each bit of both messages: neither is believed then.
func TestProofs(t *testing.T) {
	s := transporttest.NewSessions().Open(nil)
	r := connectRequest{mtu: 4096, session: s.ID, nonce: newNonce()}
	sent := appendConnect(nil, r, s.Secret)
	got, err := parseConnect(append(sent, make([]byte, 8)...)) // padded on the way
	if err != nil || got.mtu != 4096 || got.session != s.ID || got.nonce != r.nonce || !got.proves(s.Secret) {
		t.Fatalf("%+v, %v", got, err)
	}
	if got.proves(transport.Secret{}) {
		t.Error("proves a secret that it wasn't made with")
	}
	answer := appendAccept(nil, 1024, r, s.Secret)
	if a, err := parseAccept(answer, r, s.Secret); err != nil || a.mtu != 1024 {
		t.Fatalf("%+v, %v", a, err)
	}
	for bit := range 8 * connectSize {
		sent[bit/8] ^= 1 << (bit % 8)
		if c, err := parseConnect(sent); err == nil && c.proves(s.Secret) {
			t.Errorf("believed with bit %d changed", bit)
		}
		sent[bit/8] ^= 1 << (bit % 8)
	}
	for bit := range 8 * acceptSize {
		answer[bit/8] ^= 1 << (bit % 8)
		if _, err := parseAccept(answer, r, s.Secret); err == nil {
			t.Errorf("answer believed with bit %d changed", bit)
		}
		answer[bit/8] ^= 1 << (bit % 8)
	}
	other := r
	other.nonce[0] ^= 1
	if _, err := parseAccept(answer, other, s.Secret); !errors.Is(err, transport.ErrSession) {
		t.Errorf("the answer to another request: %v", err)
	}
}

func TestRejections(t *testing.T) {
	for code, want := range map[rejectCode]error{
		rejectVersion: errVersion, rejectSession: transport.ErrSession, rejectCrowded: transport.ErrConnLost,
		rejectResources: transport.ErrConnLost, rejectMTU: transport.ErrProtocol, rejectPort: transport.ErrConnLost, 99: transport.ErrProtocol,
	} {
		if err := parseReject(appendReject(nil, code)); !errors.Is(err, want) {
			t.Errorf("code %d: %v", code, err)
		}
	}
	if err := parseReject(appendHeader(nil, protocolVersion+1, uint16(rejectSession))); !errors.Is(err, errVersion) {
		t.Errorf("another version: %v", err)
	}
}

func TestMTUs(t *testing.T) {
	for n, want := range map[int]bool{0: false, 1: false, 128: false, 256: true, 1024: true, 1500: false, 4096: true, 8192: false, -256: false} {
		if validMTU(n) != want {
			t.Errorf("an MTU of %d bytes: %t", n, !want)
		}
	}
}
