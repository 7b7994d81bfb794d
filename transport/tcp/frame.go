package tcp

import (
	"encoding/binary"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/status"
)

// MaxLen is the largest payload of one request, in bytes. Both sides refuse more.
const MaxLen = landing.Largest

// Sizes of the frames that follow the handshake, in bytes. All integers are
// little endian.
const (
	// id 8 | handle 8 | version 16 | offset 8 | length 4 | flags 2 | kind 2
	requestSize = 48
	// id 8 | length 4 | crc32c 4 | status 2 | flags 2 | mark 4, then payload
	replySize = 24
)

const (
	kindRead = 1
	// flagChecksum, in a request: a crc32c is wanted; in a reply: it is there.
	flagChecksum = 1
	// replyMark ends each reply header, so that lost framing shows at once.
	replyMark = 0x52424d48
)

// request is one request frame.
type request struct {
	id       uint64
	file     transport.FileRef
	off      int64
	length   uint32
	checksum bool
}

// reply is one reply header.
type reply struct {
	id       uint64
	length   uint32
	crc      uint32
	status   status.Code
	checksum bool
}

func appendRequest(b []byte, r request) []byte {
	b = binary.LittleEndian.AppendUint64(b, r.id)
	b = binary.LittleEndian.AppendUint64(b, r.file.Handle)
	b = append(b, r.file.Version[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.off))
	b = binary.LittleEndian.AppendUint32(b, r.length)
	b = binary.LittleEndian.AppendUint16(b, flags(r.checksum))
	return binary.LittleEndian.AppendUint16(b, kindRead)
}

// parseRequest decodes the frame that b starts with; b holds requestSize bytes
// at least. The error wraps [transport.ErrProtocol].
func parseRequest(b []byte) (request, error) {
	b = b[:requestSize]
	r := request{
		id:     binary.LittleEndian.Uint64(b),
		file:   transport.FileRef{Handle: binary.LittleEndian.Uint64(b[8:])},
		off:    int64(binary.LittleEndian.Uint64(b[32:])),
		length: binary.LittleEndian.Uint32(b[40:]),
	}
	copy(r.file.Version[:], b[16:])
	flags := binary.LittleEndian.Uint16(b[44:])
	r.checksum = flags&flagChecksum != 0
	switch kind := binary.LittleEndian.Uint16(b[46:]); {
	case kind != kindRead:
		return r, fmt.Errorf("%w: request of kind %d", transport.ErrProtocol, kind)
	case flags&^flagChecksum != 0:
		return r, fmt.Errorf("%w: request with flags %#x", transport.ErrProtocol, flags)
	case r.length > MaxLen:
		return r, fmt.Errorf("%w: request of %d bytes", transport.ErrProtocol, r.length)
	case r.off < 0 || r.off+int64(r.length) < 0:
		return r, fmt.Errorf("%w: request at offset %d", transport.ErrProtocol, uint64(r.off))
	}
	return r, nil
}

// putReply encodes r into the first replySize bytes of b.
func putReply(b []byte, r reply) {
	b = b[:replySize]
	binary.LittleEndian.PutUint64(b, r.id)
	binary.LittleEndian.PutUint32(b[8:], r.length)
	binary.LittleEndian.PutUint32(b[12:], r.crc)
	binary.LittleEndian.PutUint16(b[16:], uint16(r.status))
	binary.LittleEndian.PutUint16(b[18:], flags(r.checksum))
	binary.LittleEndian.PutUint32(b[20:], replyMark)
}

// parseReply decodes the header that b starts with; b holds replySize bytes at
// least. The error wraps [transport.ErrProtocol].
func parseReply(b []byte) (reply, error) {
	b = b[:replySize]
	r := reply{
		id:     binary.LittleEndian.Uint64(b),
		length: binary.LittleEndian.Uint32(b[8:]),
		crc:    binary.LittleEndian.Uint32(b[12:]),
		status: status.Code(binary.LittleEndian.Uint16(b[16:])),
	}
	flags := binary.LittleEndian.Uint16(b[18:])
	r.checksum = flags&flagChecksum != 0
	switch mark := binary.LittleEndian.Uint32(b[20:]); {
	case mark != replyMark:
		return r, fmt.Errorf("%w: reply marked %#x", transport.ErrProtocol, mark)
	case flags&^flagChecksum != 0:
		return r, fmt.Errorf("%w: reply with flags %#x", transport.ErrProtocol, flags)
	case r.status >= status.End:
		return r, fmt.Errorf("%w: reply with status %d", transport.ErrProtocol, r.status)
	case r.status != status.OK && (r.length != 0 || r.checksum || r.crc != 0):
		return r, fmt.Errorf("%w: failure with a payload of %d bytes", transport.ErrProtocol, r.length)
	}
	return r, nil
}

func flags(checksum bool) uint16 {
	if checksum {
		return flagChecksum
	}
	return 0
}
