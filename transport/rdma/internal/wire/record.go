package wire

import (
	"encoding/binary"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
)

// Sizes of a record, and of its slot in the client's mailbox, in bytes:
//
//	tag 4 | status 4 | length 4 | crc32c 4 | handle 8 | offset 8 | version 16
const (
	RecordSize = 48
	SlotSize   = 64
)

// Record is what a target writes into the client's mailbox, behind the payload.
type Record struct {
	Tag    Tag
	Status status.Code
	Length uint32
	CRC    uint32
	File   transport.FileRef
	Off    int64
}

// AppendRecord encodes r.
func AppendRecord(b []byte, r Record) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Tag))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Status))
	b = binary.LittleEndian.AppendUint32(b, r.Length)
	b = binary.LittleEndian.AppendUint32(b, r.CRC)
	b = binary.LittleEndian.AppendUint64(b, r.File.Handle)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Off))
	return append(b, r.File.Version[:]...)
}

// ParseRecord decodes the record that b starts with; b holds RecordSize bytes
// at least. The error wraps [transport.ErrProtocol].
func ParseRecord(b []byte) (Record, error) {
	b = b[:RecordSize]
	r := Record{
		Tag:    Tag(binary.LittleEndian.Uint32(b)),
		Status: status.Code(binary.LittleEndian.Uint32(b[4:])),
		Length: binary.LittleEndian.Uint32(b[8:]),
		CRC:    binary.LittleEndian.Uint32(b[12:]),
		File:   transport.FileRef{Handle: binary.LittleEndian.Uint64(b[16:]), Version: transport.Version(b[32:48])},
		Off:    int64(binary.LittleEndian.Uint64(b[24:])),
	}
	switch {
	case r.Status >= status.End:
		return r, fmt.Errorf("%w: record with status %d", transport.ErrProtocol, r.Status)
	case r.Status != status.OK && r.CRC != 0:
		return r, fmt.Errorf("%w: record of a failure with checksum %#x", transport.ErrProtocol, r.CRC)
	}
	return r, nil
}
