package rdma

import (
	"encoding/binary"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/status"
)

// MaxLen is the largest payload of one request, in bytes. Both sides refuse more.
const MaxLen = landing.Largest

// magic is what each message of the set-up starts with.
var magic = [4]byte{'H', 'B', 'R', 'D'}

const protocolVersion = 1

// depth is the credits of one connection: how many requests may be under way on
// it. The mailbox has one slot more, for the record that ends the set-up.
const depth = 32

// Sizes of the messages after the set-up, in bytes. All integers are little
// endian.
const (
	// tag 4 | flags 4 | handle 8 | version 16 | offset 8 | address 8 | length 4 | rkey 4
	requestSize = 56
	// tag 4 | status 4 | length 4 | crc32c 4 | handle 8 | offset 8 | version 16
	recordSize = 48
	// slotSize is what each slot of the client's mailbox takes.
	slotSize = 64
)

// flagChecksum, in a request: a crc32c is wanted in its record.
const flagChecksum = 1

// tag names a use of a slot: a record and its immediate repeat the request's.
type tag uint32

// generations is how many uses of a slot have tags of their own.
const generations = 1 << 24

func newTag(slot int, generation uint32) tag { return tag(generation%generations<<8 | uint32(slot)) }

func (t tag) slot() int          { return int(t & 0xff) }
func (t tag) generation() uint32 { return uint32(t >> 8) }

// request is what a client sends: which bytes, and where the server writes them.
type request struct {
	tag      tag
	checksum bool
	file     transport.FileRef
	off      int64
	addr     uint64
	length   uint32
	rkey     uint32
}

// record is what a server writes into the client's mailbox, behind the payload.
type record struct {
	tag    tag
	status status.Code
	length uint32
	crc    uint32
	file   transport.FileRef
	off    int64
}

func appendRequest(b []byte, r request) []byte {
	var flags uint32
	if r.checksum {
		flags = flagChecksum
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(r.tag))
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint64(b, r.file.Handle)
	b = append(b, r.file.Version[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.off))
	b = binary.LittleEndian.AppendUint64(b, r.addr)
	b = binary.LittleEndian.AppendUint32(b, r.length)
	return binary.LittleEndian.AppendUint32(b, r.rkey)
}

// parseRequest decodes a message that a client sent: b is all of it. The error
// wraps [transport.ErrProtocol].
func parseRequest(b []byte) (request, error) {
	if len(b) != requestSize {
		return request{}, fmt.Errorf("%w: request message of %d bytes", transport.ErrProtocol, len(b))
	}
	r := request{
		tag:    tag(binary.LittleEndian.Uint32(b)),
		file:   transport.FileRef{Handle: binary.LittleEndian.Uint64(b[8:]), Version: transport.Version(b[16:32])},
		off:    int64(binary.LittleEndian.Uint64(b[32:])),
		addr:   binary.LittleEndian.Uint64(b[40:]),
		length: binary.LittleEndian.Uint32(b[48:]),
		rkey:   binary.LittleEndian.Uint32(b[52:]),
	}
	flags := binary.LittleEndian.Uint32(b[4:])
	r.checksum = flags&flagChecksum != 0
	switch {
	case flags&^flagChecksum != 0:
		return r, fmt.Errorf("%w: request with flags %#x", transport.ErrProtocol, flags)
	case r.tag.slot() >= depth:
		return r, fmt.Errorf("%w: request of slot %d", transport.ErrProtocol, r.tag.slot())
	case r.length > MaxLen:
		return r, fmt.Errorf("%w: request of %d bytes", transport.ErrProtocol, r.length)
	case r.off < 0 || r.off+int64(r.length) < 0:
		return r, fmt.Errorf("%w: request at offset %d", transport.ErrProtocol, uint64(r.off))
	case r.addr+uint64(r.length) < r.addr:
		return r, fmt.Errorf("%w: request to address %#x", transport.ErrProtocol, r.addr)
	}
	return r, nil
}

func appendRecord(b []byte, r record) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(r.tag))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.status))
	b = binary.LittleEndian.AppendUint32(b, r.length)
	b = binary.LittleEndian.AppendUint32(b, r.crc)
	b = binary.LittleEndian.AppendUint64(b, r.file.Handle)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.off))
	return append(b, r.file.Version[:]...)
}

// parseRecord decodes the record that b starts with; b holds recordSize bytes
// at least. The error wraps [transport.ErrProtocol].
func parseRecord(b []byte) (record, error) {
	b = b[:recordSize]
	r := record{
		tag:    tag(binary.LittleEndian.Uint32(b)),
		status: status.Code(binary.LittleEndian.Uint32(b[4:])),
		length: binary.LittleEndian.Uint32(b[8:]),
		crc:    binary.LittleEndian.Uint32(b[12:]),
		file:   transport.FileRef{Handle: binary.LittleEndian.Uint64(b[16:]), Version: transport.Version(b[32:48])},
		off:    int64(binary.LittleEndian.Uint64(b[24:])),
	}
	switch {
	case r.status >= status.End:
		return r, fmt.Errorf("%w: record with status %d", transport.ErrProtocol, r.status)
	case r.status != status.OK && r.crc != 0:
		return r, fmt.Errorf("%w: record of a failure with checksum %#x", transport.ErrProtocol, r.crc)
	}
	return r, nil
}
