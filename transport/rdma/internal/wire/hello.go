package wire

import (
	"encoding/binary"
	"fmt"

	"hbmfs/transport"
)

// Sizes of a client's first message and its parts, in bytes.
const (
	// magic 4 | version 2 | depth 2 | mailbox 8 | proof area 8 | rkey 4 |
	// zeros to helloHead | pattern
	helloHead = 64
	HelloSize = helloHead + ProofSize
	// ProofSize is how many bytes go each way before a connection is up: more
	// than any path MTU.
	ProofSize = 4096
)

// Hello says where the client's mailbox and proof area are.
type Hello struct {
	Mailbox, Proof uint64 // addresses
	RKey           uint32 // of both
}

// AppendHello encodes a client's first message.
func AppendHello(b []byte, h Hello) []byte {
	from := len(b)
	b = appendHeader(b, protocolVersion, Depth)
	b = binary.LittleEndian.AppendUint64(b, h.Mailbox)
	b = binary.LittleEndian.AppendUint64(b, h.Proof)
	b = binary.LittleEndian.AppendUint32(b, h.RKey)
	b = append(b, make([]byte, helloHead-(len(b)-from))...)
	return AppendPattern(b)
}

// ParseHello decodes a client's first message: b is all of it. The error wraps
// [transport.ErrProtocol].
func ParseHello(b []byte) (h Hello, err error) {
	if len(b) != HelloSize {
		return h, fmt.Errorf("%w: first message of %d bytes", transport.ErrProtocol, len(b))
	}
	depth, err := parseHeader(b, HelloSize)
	if err != nil {
		return h, err
	}
	h.Mailbox = binary.LittleEndian.Uint64(b[8:])
	h.Proof = binary.LittleEndian.Uint64(b[16:])
	h.RKey = binary.LittleEndian.Uint32(b[24:])
	for _, c := range b[28:helloHead] {
		if c != 0 {
			return h, fmt.Errorf("%w: first message with padding that is not zero", transport.ErrProtocol)
		}
	}
	if depth != Depth {
		return h, fmt.Errorf("%w: %d requests a connection, not %d", transport.ErrProtocol, depth, Depth)
	}
	return h, CheckPattern(b[helloHead:])
}

// AppendPattern appends the ProofSize bytes that show that large messages pass.
func AppendPattern(b []byte) []byte {
	for i := range ProofSize {
		b = append(b, pattern(i))
	}
	return b
}

func pattern(i int) byte { return byte(i*7 + 3) }

// CheckPattern returns an error wrapping [transport.ErrProtocol] unless b is
// what AppendPattern appends.
func CheckPattern(b []byte) error {
	if len(b) != ProofSize {
		return fmt.Errorf("%w: proof of %d bytes", transport.ErrProtocol, len(b))
	}
	for i, c := range b {
		if c != pattern(i) {
			return fmt.Errorf("%w: byte %d of the proof is %#x", transport.ErrProtocol, i, c)
		}
	}
	return nil
}
