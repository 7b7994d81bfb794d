package wire

import (
	"encoding/binary"
	"fmt"

	"hbmfs/transport"
)

const (
	// MessageSize is the most that a client sends at a time, in bytes: requests, one
	// behind the other.
	MessageSize = 2 << 10
	// RequestSize is a request's, in bytes, without what a call asks, which lies
	// behind it. All integers are little endian:
	//
	//	tag 4 | flags 4 | handle 8 | version 16 | offset 8 | address 8 | length 4 | rkey 4
	//
	// Of a call, length is the ask's, and file and offset are 0.
	RequestSize = 56
	// Batch is how many calls share a message that ask 100 bytes each.
	Batch = MessageSize / (RequestSize + 100)
)

// Flags of a request.
const (
	flagChecksum = 1 << iota // a crc32c is wanted in its record
	flagCall
	flagChained // it begins once the latest call before it has been answered
	flagsEnd
)

// Request is what a client sends: which bytes, or what it asks, and where the target
// writes them, or the answer, for which there is room for [transport.MaxCall] bytes.
type Request struct {
	Tag      Tag
	Checksum bool
	Chained  bool
	File     transport.FileRef
	Off      int64
	Length   uint32
	Ask      []byte // of a call, which has none of the three above; else nil
	Addr     uint64
	RKey     uint32
}

// AppendRequest encodes r.
func AppendRequest(b []byte, r Request) []byte {
	flags, length := uint32(0), r.Length
	if r.Checksum {
		flags |= flagChecksum
	}
	if r.Chained {
		flags |= flagChained
	}
	if r.Ask != nil {
		flags |= flagCall
		length = uint32(len(r.Ask))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Tag))
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint64(b, r.File.Handle)
	b = append(b, r.File.Version[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Off))
	b = binary.LittleEndian.AppendUint64(b, r.Addr)
	b = binary.LittleEndian.AppendUint32(b, length)
	b = binary.LittleEndian.AppendUint32(b, r.RKey)
	return append(b, r.Ask...)
}

// ParseRequest decodes the request that b, the rest of a client's message, starts
// with, and returns what is behind it. Its ask is in b. The error wraps
// [transport.ErrProtocol].
func ParseRequest(b []byte) (r Request, rest []byte, err error) {
	if len(b) < RequestSize {
		return r, nil, fmt.Errorf("%w: request of %d bytes", transport.ErrProtocol, len(b))
	}
	r = Request{
		Tag:    Tag(binary.LittleEndian.Uint32(b)),
		File:   transport.FileRef{Handle: binary.LittleEndian.Uint64(b[8:]), Version: transport.Version(b[16:32])},
		Off:    int64(binary.LittleEndian.Uint64(b[32:])),
		Addr:   binary.LittleEndian.Uint64(b[40:]),
		Length: binary.LittleEndian.Uint32(b[48:]),
		RKey:   binary.LittleEndian.Uint32(b[52:]),
	}
	flags, rest := binary.LittleEndian.Uint32(b[4:]), b[RequestSize:]
	r.Checksum, r.Chained = flags&flagChecksum != 0, flags&flagChained != 0
	if flags&flagCall != 0 {
		rest, err = r.takeAsk(rest)
	}
	switch {
	case err != nil:
	case flags >= flagsEnd:
		err = fmt.Errorf("%w: request with flags %#x", transport.ErrProtocol, flags)
	case r.Tag.Slot() >= Depth:
		err = fmt.Errorf("%w: request of slot %d", transport.ErrProtocol, r.Tag.Slot())
	case r.Length > MaxLen:
		err = fmt.Errorf("%w: request of %d bytes", transport.ErrProtocol, r.Length)
	case r.Off < 0 || r.Off+int64(r.Length) < 0:
		err = fmt.Errorf("%w: request at offset %d", transport.ErrProtocol, uint64(r.Off))
	case r.Addr+r.room() < r.Addr:
		err = fmt.Errorf("%w: request to address %#x", transport.ErrProtocol, r.Addr)
	}
	return r, rest, err
}

// takeAsk makes r the call that it says it is: what it asks is what b starts with.
func (r *Request) takeAsk(b []byte) (rest []byte, err error) {
	n := r.Length
	r.Length = 0
	switch {
	case n < 1 || n > transport.MaxCall || int(n) > len(b):
		return nil, fmt.Errorf("%w: call that asks %d bytes, of %d", transport.ErrProtocol, n, len(b))
	case r.File != transport.FileRef{} || r.Off != 0:
		return nil, fmt.Errorf("%w: call of file %d at %d", transport.ErrProtocol, r.File.Handle, r.Off)
	}
	r.Ask = b[:n:n]
	return b[n:], nil
}

// room is how many bytes the target may write.
func (r *Request) room() uint64 {
	if r.Ask != nil {
		return transport.MaxCall
	}
	return uint64(r.Length)
}
