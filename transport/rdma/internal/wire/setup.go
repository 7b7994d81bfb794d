package wire

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"hbmfs/transport"
)

// Sizes of the set-up's messages that are private data of the connection manager,
// in clear, in bytes.
const (
	nonceSize = 16
	macSize   = 16
	// client: magic 4 | version 2 | mtu 2 | session 16 | nonce 16 | mac 16
	connectSize = 56
	// target: magic 4 | version 2 | mtu 2 | mac 16
	acceptSize = 24
	// target: magic 4 | version 2 | code 2
	rejectSize = 8
)

// Labels keep a mac of one side from being one of the other's.
const (
	clientLabel = "hbmfs rdma client 1"
	serverLabel = "hbmfs rdma server 1"
)

// Nonce is single use: the target refuses one that it has seen.
type Nonce [nonceSize]byte

type mac [macSize]byte

// ConnectRequest is the private data that a client connects with.
type ConnectRequest struct {
	MTU     uint16 // the client's active MTU, in bytes
	Session transport.SessionID
	Nonce   Nonce
	mac     mac // proves that the client knows the session's secret
}

// RejectCode says why a target refused a connection.
type RejectCode uint16

// Reasons to refuse.
const (
	RejectVersion RejectCode = iota + 1
	RejectSession
	RejectCrowded
	RejectResources
	RejectMTU
	RejectPort
)

// NewNonce returns a random nonce.
func NewNonce() (n Nonce) {
	rand.Read(n[:]) // never fails
	return n
}

// sum is the mac, by secret, of label and parts.
func sum(secret transport.Secret, label string, parts ...[]byte) mac {
	h := hmac.New(sha256.New, secret[:])
	_, _ = io.WriteString(h, label) // never fails
	for _, p := range parts {
		h.Write(p)
	}
	return mac(h.Sum(nil)[:macSize])
}

// equal compares in constant time.
func (m mac) equal(other mac) bool { return hmac.Equal(m[:], other[:]) }

func appendHeader(b []byte, version, value uint16) []byte {
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint16(b, version)
	return binary.LittleEndian.AppendUint16(b, value)
}

// parseHeader checks how each message of the set-up starts, and its size. The
// error wraps [errVersion] only if nothing but the version is wrong.
func parseHeader(b []byte, size int) (value uint16, err error) {
	if len(b) < size || [4]byte(b) != magic {
		return 0, fmt.Errorf("%w: %d bytes that are no message of the set-up", transport.ErrProtocol, len(b))
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != protocolVersion {
		return 0, fmt.Errorf("%w: peer speaks version %d of the protocol, this side %d; use the same release on both",
			errVersion, v, protocolVersion)
	}
	return binary.LittleEndian.Uint16(b[6:]), nil
}

var errVersion = fmt.Errorf("%w: version", transport.ErrProtocol)

// AppendConnect encodes r with the mac that secret gives; r.mac is ignored.
func AppendConnect(b []byte, r ConnectRequest, secret transport.Secret) []byte {
	from := len(b)
	b = appendHeader(b, protocolVersion, r.MTU)
	b = append(b, r.Session[:]...)
	b = append(b, r.Nonce[:]...)
	m := sum(secret, clientLabel, b[from:])
	return append(b, m[:]...)
}

// ParseConnect decodes a client's private data, which the connection manager
// may have padded. It does not judge the mac: see [ConnectRequest.Proves]. The
// error wraps [transport.ErrProtocol], and errVersion if that is what is wrong.
func ParseConnect(b []byte) (r ConnectRequest, err error) {
	if r.MTU, err = parseHeader(b, connectSize); err != nil {
		return r, err
	}
	copy(r.Session[:], b[8:])
	copy(r.Nonce[:], b[24:])
	copy(r.mac[:], b[40:])
	return r, nil
}

// Proves reports whether the client that sent r knows secret.
func (r ConnectRequest) Proves(secret transport.Secret) bool {
	b := AppendConnect(make([]byte, 0, connectSize), r, secret)
	return r.mac.equal(mac(b[connectSize-macSize:]))
}

// AppendAccept encodes the answer to r: that both sides use mtu, in bytes, and the
// proof that the target knows the secret too.
func AppendAccept(b []byte, mtu uint16, r ConnectRequest, secret transport.Secret) []byte {
	from := len(b)
	b = appendHeader(b, protocolVersion, mtu)
	m := sum(secret, serverLabel, b[from:], r.Nonce[:], r.Session[:])
	return append(b, m[:]...)
}

// ParseAccept decodes a target's private data, which the connection manager may
// have padded, in answer to r: the MTU that it wants. The error wraps [transport.ErrProtocol] or, if
// the target does not know secret, [transport.ErrSession].
func ParseAccept(b []byte, r ConnectRequest, secret transport.Secret) (mtu uint16, err error) {
	if mtu, err = parseHeader(b, acceptSize); err != nil {
		return 0, err
	}
	if !mac(b[8:acceptSize]).equal(sum(secret, serverLabel, b[:8], r.Nonce[:], r.Session[:])) {
		return 0, fmt.Errorf("%w: the target could not prove that it knows the secret", transport.ErrSession)
	}
	return mtu, nil
}

// AppendReject encodes a refusal.
func AppendReject(b []byte, code RejectCode) []byte {
	return appendHeader(b, protocolVersion, uint16(code))
}

// ParseReject returns what a refusal with private data b means: an error
// wrapping [transport.ErrSession], [transport.ErrProtocol] or, where another
// attempt may succeed, [transport.ErrConnLost].
func ParseReject(b []byte) error {
	code, err := parseHeader(b, rejectSize)
	if err != nil {
		return err
	}
	switch RejectCode(code) {
	case RejectVersion:
		return fmt.Errorf("%w: the target speaks no version %d; use the same release on both", errVersion, protocolVersion)
	case RejectSession:
		return fmt.Errorf("%w: the target does not know it, or not by this secret", transport.ErrSession)
	case RejectCrowded:
		return fmt.Errorf("%w: the target has too many connections, of this client or of all; its log says which", transport.ErrConnLost)
	case RejectResources:
		return fmt.Errorf("%w: the target's device is out of resources", transport.ErrConnLost)
	case RejectMTU:
		return fmt.Errorf("%w: the target knows no such MTU as this side announced", transport.ErrProtocol)
	case RejectPort:
		return fmt.Errorf("%w: the port of the target's RDMA device is down: bring its network link up", transport.ErrConnLost)
	default:
		return fmt.Errorf("%w: refused with code %d", transport.ErrProtocol, code)
	}
}
