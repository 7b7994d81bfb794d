package rdma

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"hbmfs/transport"
)

// Sizes of the set-up's messages, in bytes. The first three are private data of
// the connection manager, in clear.
const (
	nonceSize = 16
	macSize   = 16
	// client: magic 4 | version 2 | mtu 2 | session 16 | nonce 16 | mac 16
	connectSize = 56
	// server: magic 4 | version 2 | mtu 2 | mac 16
	acceptSize = 24
	// server: magic 4 | version 2 | code 2
	rejectSize = 8
	// client, the first message: magic 4 | version 2 | depth 2 | mailbox 8 |
	// proof area 8 | rkey 4 | zeros to helloHead | pattern
	helloHead = 64
	helloSize = helloHead + proofSize
	// proofSize is how many bytes go each way before a connection is up: more
	// than any path MTU.
	proofSize = 4096
)

// Labels keep a mac of one side from being one of the other's.
const (
	clientLabel = "hbmfs rdma client 1"
	serverLabel = "hbmfs rdma server 1"
)

// nonce is single use: the server refuses one that it has seen.
type nonce [nonceSize]byte

type mac [macSize]byte

// connectRequest is the private data that a client connects with.
type connectRequest struct {
	mtu     uint16 // the client's active MTU, in bytes
	session transport.SessionID
	nonce   nonce
	mac     mac // proves that the client knows the session's secret
}

// acceptReply is the private data that a server accepts with.
type acceptReply struct {
	mtu uint16 // what both sides use, in bytes
	mac mac    // proves that the server knows it too
}

// rejectCode says why a server refused a connection.
type rejectCode uint16

const (
	rejectVersion rejectCode = iota + 1
	rejectSession
	rejectCrowded
	rejectResources
	rejectMTU
	rejectPort
)

// hello says where the client's mailbox and proof area are.
type hello struct {
	depth          uint16
	mailbox, proof uint64 // addresses
	rkey           uint32 // of both
}

func newNonce() (n nonce) {
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

// appendConnect encodes r with the mac that secret gives; r.mac is ignored.
func appendConnect(b []byte, r connectRequest, secret transport.Secret) []byte {
	from := len(b)
	b = appendHeader(b, protocolVersion, r.mtu)
	b = append(b, r.session[:]...)
	b = append(b, r.nonce[:]...)
	m := sum(secret, clientLabel, b[from:])
	return append(b, m[:]...)
}

// parseConnect decodes a client's private data, which the connection manager
// may have padded. It does not judge the mac: see [connectRequest.proves]. The
// error wraps [transport.ErrProtocol], and errVersion if that is what is wrong.
func parseConnect(b []byte) (r connectRequest, err error) {
	if r.mtu, err = parseHeader(b, connectSize); err != nil {
		return r, err
	}
	copy(r.session[:], b[8:])
	copy(r.nonce[:], b[24:])
	copy(r.mac[:], b[40:])
	return r, nil
}

// proves reports whether the client that sent r knows secret.
func (r connectRequest) proves(secret transport.Secret) bool {
	b := appendConnect(make([]byte, 0, connectSize), r, secret)
	return r.mac.equal(mac(b[connectSize-macSize:]))
}

// appendAccept encodes the answer to r.
func appendAccept(b []byte, mtu uint16, r connectRequest, secret transport.Secret) []byte {
	from := len(b)
	b = appendHeader(b, protocolVersion, mtu)
	m := sum(secret, serverLabel, b[from:], r.nonce[:], r.session[:])
	return append(b, m[:]...)
}

// parseAccept decodes a server's private data, which the connection manager may
// have padded, in answer to r. The error wraps [transport.ErrProtocol] or, if
// the server does not know secret, [transport.ErrSession].
func parseAccept(b []byte, r connectRequest, secret transport.Secret) (a acceptReply, err error) {
	if a.mtu, err = parseHeader(b, acceptSize); err != nil {
		return a, err
	}
	copy(a.mac[:], b[8:])
	if !a.mac.equal(sum(secret, serverLabel, b[:8], r.nonce[:], r.session[:])) {
		return a, fmt.Errorf("%w: the target could not prove that it knows the secret", transport.ErrSession)
	}
	return a, nil
}

func appendReject(b []byte, code rejectCode) []byte {
	return appendHeader(b, protocolVersion, uint16(code))
}

// parseReject returns what a refusal with private data b means: an error
// wrapping [transport.ErrSession], [transport.ErrProtocol] or, where another
// attempt may succeed, [transport.ErrConnLost].
func parseReject(b []byte) error {
	code, err := parseHeader(b, rejectSize)
	if err != nil {
		return err
	}
	switch rejectCode(code) {
	case rejectVersion:
		return fmt.Errorf("%w: the target speaks no version %d; use the same release on both", errVersion, protocolVersion)
	case rejectSession:
		return fmt.Errorf("%w: the target does not know it, or not by this secret", transport.ErrSession)
	case rejectCrowded:
		return fmt.Errorf("%w: the target has too many connections", transport.ErrConnLost)
	case rejectResources:
		return fmt.Errorf("%w: the target's device is out of resources", transport.ErrConnLost)
	case rejectMTU:
		return fmt.Errorf("%w: the target knows no such MTU as this side announced", transport.ErrProtocol)
	case rejectPort:
		return fmt.Errorf("%w: at the target's RDMA device, %w", transport.ErrConnLost, errPortDown)
	default:
		return fmt.Errorf("%w: refused with code %d", transport.ErrProtocol, code)
	}
}

func appendHello(b []byte, h hello) []byte {
	from := len(b)
	b = appendHeader(b, protocolVersion, h.depth)
	b = binary.LittleEndian.AppendUint64(b, h.mailbox)
	b = binary.LittleEndian.AppendUint64(b, h.proof)
	b = binary.LittleEndian.AppendUint32(b, h.rkey)
	b = append(b, make([]byte, helloHead-(len(b)-from))...)
	return appendPattern(b)
}

// parseHello decodes a client's first message: b is all of it. The error wraps
// [transport.ErrProtocol].
func parseHello(b []byte) (h hello, err error) {
	if len(b) != helloSize {
		return h, fmt.Errorf("%w: first message of %d bytes", transport.ErrProtocol, len(b))
	}
	if h.depth, err = parseHeader(b, helloSize); err != nil {
		return h, err
	}
	h.mailbox = binary.LittleEndian.Uint64(b[8:])
	h.proof = binary.LittleEndian.Uint64(b[16:])
	h.rkey = binary.LittleEndian.Uint32(b[24:])
	for _, c := range b[28:helloHead] {
		if c != 0 {
			return h, fmt.Errorf("%w: first message with padding that is not zero", transport.ErrProtocol)
		}
	}
	if h.depth != depth {
		return h, fmt.Errorf("%w: %d requests a connection, not %d", transport.ErrProtocol, h.depth, depth)
	}
	return h, checkPattern(b[helloHead:])
}

// appendPattern appends the proofSize bytes that show that large messages pass.
func appendPattern(b []byte) []byte {
	for i := range proofSize {
		b = append(b, pattern(i))
	}
	return b
}

func pattern(i int) byte { return byte(i*7 + 3) }

// checkPattern returns an error wrapping [transport.ErrProtocol] unless b is
// what appendPattern appends.
func checkPattern(b []byte) error {
	if len(b) != proofSize {
		return fmt.Errorf("%w: proof of %d bytes", transport.ErrProtocol, len(b))
	}
	for i, c := range b {
		if c != pattern(i) {
			return fmt.Errorf("%w: byte %d of the proof is %#x", transport.ErrProtocol, i, c)
		}
	}
	return nil
}
