package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Reply is one reply header.
type Reply struct {
	ID       uint64
	Length   uint32
	CRC      uint32
	Status   status.Code
	Answer   bool // to a call
	Checksum bool
}

// Put encodes r into the first [ReplySize] bytes of b.
func (r Reply) Put(b []byte) {
	b = b[:ReplySize]
	binary.LittleEndian.PutUint64(b, r.ID)
	binary.LittleEndian.PutUint32(b[8:], r.Length)
	binary.LittleEndian.PutUint32(b[12:], r.CRC)
	binary.LittleEndian.PutUint16(b[16:], uint16(r.Status))
	binary.LittleEndian.PutUint16(b[18:], flags(r.Checksum, r.Answer))
	binary.LittleEndian.PutUint32(b[20:], replyMark)
}

// ParseReply decodes the header that b starts with; b holds [ReplySize] bytes at
// least. The error wraps [transport.ErrProtocol].
func ParseReply(b []byte) (Reply, error) {
	b = b[:ReplySize]
	flags := binary.LittleEndian.Uint16(b[18:])
	r := Reply{
		ID:       binary.LittleEndian.Uint64(b),
		Length:   binary.LittleEndian.Uint32(b[8:]),
		CRC:      binary.LittleEndian.Uint32(b[12:]),
		Status:   status.Code(binary.LittleEndian.Uint16(b[16:])),
		Answer:   flags&flagAnswer != 0,
		Checksum: flags&flagChecksum != 0,
	}
	switch mark := binary.LittleEndian.Uint32(b[20:]); {
	case mark != replyMark:
		return r, fmt.Errorf("%w: reply marked %#x", transport.ErrProtocol, mark)
	case flags&^(flagChecksum|flagAnswer) != 0:
		return r, fmt.Errorf("%w: reply with flags %#x", transport.ErrProtocol, flags)
	case r.Status >= status.End:
		return r, fmt.Errorf("%w: reply with status %d", transport.ErrProtocol, r.Status)
	case r.Status != status.OK && (r.Length != 0 || r.Checksum || r.CRC != 0 || r.Answer):
		return r, fmt.Errorf("%w: failure with a payload of %d bytes", transport.ErrProtocol, r.Length)
	case r.Answer && r.Length > transport.MaxCall:
		return r, fmt.Errorf("%w: answer of %d bytes", transport.ErrProtocol, r.Length)
	}
	return r, nil
}

// Expect returns an error wrapping [transport.ErrProtocol] unless r, a success,
// announces what a read asked for.
func (r Reply) Expect(length int64, checksum bool) error {
	if int64(r.Length) != length || r.Answer {
		return fmt.Errorf("%w: reply of %d bytes (to a call: %t) to a read of %d", transport.ErrProtocol, r.Length, r.Answer, length)
	}
	if r.Checksum != checksum {
		return fmt.Errorf("%w: checksum announced: %t, asked for: %t", transport.ErrProtocol, r.Checksum, checksum)
	}
	return nil
}

// ExpectFor is Expect for q, which may be a call: then it says how long the answer is.
func (r Reply) ExpectFor(q *transport.Request, checksum bool) error {
	if q.Call == nil {
		return r.Expect(q.Dst.Len, checksum)
	}
	if !r.Answer {
		return fmt.Errorf("%w: reply of %d bytes of a file to a call", transport.ErrProtocol, r.Length)
	}
	r.Answer = false
	return r.Expect(int64(r.Length), checksum)
}

// Take copies the answer, which r announced, to where call wants it. The error
// wraps [transport.ErrChecksum] if that is not what was sent.
func (r Reply) Take(call *transport.Call, answer []byte) error {
	if crc := crc32.Checksum(answer, castagnoli); r.Checksum && crc != r.CRC {
		return fmt.Errorf("%w: crc32c %#08x arrived, %#08x was sent", transport.ErrChecksum, crc, r.CRC)
	}
	call.Answer = append(call.Answer[:0], answer...)
	return nil
}
