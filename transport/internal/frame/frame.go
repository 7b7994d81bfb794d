// Package frame is what transports over byte streams say to each other: requests,
// the headers of replies, and the handshake by which both ends of a connection
// prove that they know a session's secret. All integers are little endian.
//
// It owns no connection and decides nothing about one. It holds no lock.
package frame

import (
	"encoding/binary"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/status"
)

// MaxLen is the largest payload of one request, in bytes. Both sides refuse more.
const MaxLen = landing.Largest

// Sizes of the frames that follow the handshake, in bytes.
const (
	// RequestSize: id 8 | handle 8 | version 16 | offset 8 | length 4 | flags 2 | kind 2
	RequestSize = 48
	// ReplySize: id 8 | length 4 | crc32c 4 | status 2 | flags 2 | mark 4
	ReplySize = 24
)

const (
	kindRead = 1
	// flagChecksum, in a request: a crc32c is wanted; in a reply: it is there.
	flagChecksum = 1
	// replyMark ends each reply header, so that lost framing shows at once.
	replyMark = 0x52424d48
)

// Request is one request frame.
type Request struct {
	ID       uint64
	File     transport.FileRef
	Off      int64
	Length   uint32
	Checksum bool
}

// Reply is one reply header.
type Reply struct {
	ID       uint64
	Length   uint32
	CRC      uint32
	Status   status.Code
	Checksum bool
}

// Append appends r's frame to b.
func (r Request) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, r.ID)
	b = binary.LittleEndian.AppendUint64(b, r.File.Handle)
	b = append(b, r.File.Version[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Off))
	b = binary.LittleEndian.AppendUint32(b, r.Length)
	b = binary.LittleEndian.AppendUint16(b, flags(r.Checksum))
	return binary.LittleEndian.AppendUint16(b, kindRead)
}

// ParseRequest decodes the frame that b starts with; b holds [RequestSize] bytes
// at least. The error wraps [transport.ErrProtocol].
func ParseRequest(b []byte) (Request, error) {
	b = b[:RequestSize]
	r := Request{
		ID:     binary.LittleEndian.Uint64(b),
		File:   transport.FileRef{Handle: binary.LittleEndian.Uint64(b[8:])},
		Off:    int64(binary.LittleEndian.Uint64(b[32:])),
		Length: binary.LittleEndian.Uint32(b[40:]),
	}
	copy(r.File.Version[:], b[16:])
	flags := binary.LittleEndian.Uint16(b[44:])
	r.Checksum = flags&flagChecksum != 0
	switch kind := binary.LittleEndian.Uint16(b[46:]); {
	case kind != kindRead:
		return r, fmt.Errorf("%w: request of kind %d", transport.ErrProtocol, kind)
	case flags&^flagChecksum != 0:
		return r, fmt.Errorf("%w: request with flags %#x", transport.ErrProtocol, flags)
	case r.Length > MaxLen:
		return r, fmt.Errorf("%w: request of %d bytes", transport.ErrProtocol, r.Length)
	case r.Off < 0 || r.Off+int64(r.Length) < 0:
		return r, fmt.Errorf("%w: request at offset %d", transport.ErrProtocol, uint64(r.Off))
	}
	return r, nil
}

// Put encodes r into the first [ReplySize] bytes of b.
func (r Reply) Put(b []byte) {
	b = b[:ReplySize]
	binary.LittleEndian.PutUint64(b, r.ID)
	binary.LittleEndian.PutUint32(b[8:], r.Length)
	binary.LittleEndian.PutUint32(b[12:], r.CRC)
	binary.LittleEndian.PutUint16(b[16:], uint16(r.Status))
	binary.LittleEndian.PutUint16(b[18:], flags(r.Checksum))
	binary.LittleEndian.PutUint32(b[20:], replyMark)
}

// ParseReply decodes the header that b starts with; b holds [ReplySize] bytes at
// least. The error wraps [transport.ErrProtocol].
func ParseReply(b []byte) (Reply, error) {
	b = b[:ReplySize]
	r := Reply{
		ID:     binary.LittleEndian.Uint64(b),
		Length: binary.LittleEndian.Uint32(b[8:]),
		CRC:    binary.LittleEndian.Uint32(b[12:]),
		Status: status.Code(binary.LittleEndian.Uint16(b[16:])),
	}
	flags := binary.LittleEndian.Uint16(b[18:])
	r.Checksum = flags&flagChecksum != 0
	switch mark := binary.LittleEndian.Uint32(b[20:]); {
	case mark != replyMark:
		return r, fmt.Errorf("%w: reply marked %#x", transport.ErrProtocol, mark)
	case flags&^flagChecksum != 0:
		return r, fmt.Errorf("%w: reply with flags %#x", transport.ErrProtocol, flags)
	case r.Status >= status.End:
		return r, fmt.Errorf("%w: reply with status %d", transport.ErrProtocol, r.Status)
	case r.Status != status.OK && (r.Length != 0 || r.Checksum || r.CRC != 0):
		return r, fmt.Errorf("%w: failure with a payload of %d bytes", transport.ErrProtocol, r.Length)
	}
	return r, nil
}

// Expect returns an error wrapping [transport.ErrProtocol] unless h, a success,
// announces what was asked for.
func (r Reply) Expect(length int64, checksum bool) error {
	if int64(r.Length) != length {
		return fmt.Errorf("%w: reply of %d bytes, %d were asked for", transport.ErrProtocol, r.Length, length)
	}
	if r.Checksum != checksum {
		return fmt.Errorf("%w: checksum announced: %t, asked for: %t", transport.ErrProtocol, r.Checksum, checksum)
	}
	return nil
}

func flags(checksum bool) uint16 {
	if checksum {
		return flagChecksum
	}
	return 0
}
