package frame

import (
	"encoding/binary"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// Request is one request frame.
type Request struct {
	ID       uint64
	File     transport.FileRef // a read's
	Off      int64             // a read's
	Length   uint32            // what a read is to bring, or of a call's ask; in bytes
	Call     bool
	Linked   bool // the next request on the connection begins when this one is answered
	Checksum bool
}

// AskLen is how long what follows the frame is, in bytes.
func (r Request) AskLen() int {
	if r.Call {
		return int(r.Length)
	}
	return 0
}

// Room is how long the reply's payload is at most, in bytes.
func (r Request) Room() int {
	if r.Call {
		return transport.MaxCall
	}
	return int(r.Length)
}

// Append appends r's frame to b. A call's ask follows it.
func (r Request) Append(b []byte) []byte {
	kind := uint16(kindRead)
	if r.Call {
		kind = kindCall
	}
	b = binary.LittleEndian.AppendUint64(b, r.ID)
	b = binary.LittleEndian.AppendUint64(b, r.File.Handle)
	b = append(b, r.File.Version[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Off))
	b = binary.LittleEndian.AppendUint32(b, r.Length)
	b = binary.LittleEndian.AppendUint16(b, flags(r.Checksum, r.Linked))
	return binary.LittleEndian.AppendUint16(b, kind)
}

// ParseRequest decodes the frame that b starts with; b holds [RequestSize] bytes
// at least. The error wraps [transport.ErrProtocol].
func ParseRequest(b []byte) (Request, error) {
	b = b[:RequestSize]
	flags, kind := binary.LittleEndian.Uint16(b[44:]), binary.LittleEndian.Uint16(b[46:])
	r := Request{
		ID:       binary.LittleEndian.Uint64(b),
		File:     transport.FileRef{Handle: binary.LittleEndian.Uint64(b[8:]), Version: transport.Version(b[16:])},
		Off:      int64(binary.LittleEndian.Uint64(b[32:])),
		Length:   binary.LittleEndian.Uint32(b[40:]),
		Call:     kind == kindCall,
		Linked:   flags&flagLinked != 0,
		Checksum: flags&flagChecksum != 0,
	}
	switch {
	case kind != kindRead && kind != kindCall:
		return r, fmt.Errorf("%w: request of kind %d", transport.ErrProtocol, kind)
	case flags&^(flagChecksum|flagLinked) != 0:
		return r, fmt.Errorf("%w: request with flags %#x", transport.ErrProtocol, flags)
	case r.Call && (r.Length < 1 || r.Length > transport.MaxCall || r.File != transport.FileRef{} || r.Off != 0):
		return r, fmt.Errorf("%w: call with an ask of %d bytes, at %d of file %d", transport.ErrProtocol, r.Length, uint64(r.Off), r.File.Handle)
	case r.Length > MaxLen:
		return r, fmt.Errorf("%w: request of %d bytes", transport.ErrProtocol, r.Length)
	case r.Off < 0 || r.Off+int64(r.Length) < 0:
		return r, fmt.Errorf("%w: request at offset %d", transport.ErrProtocol, uint64(r.Off))
	}
	return r, nil
}

// Requests are requests that are to be sent together. The zero value is none.
type Requests struct {
	Bytes  []byte
	latest int // where its frame is
}

// NewRequests has room for n requests.
func NewRequests(n int) Requests {
	return Requests{Bytes: make([]byte, 0, n*(RequestSize+transport.MaxCall))}
}

// Add adds r, with its ask. Where that is chained, it is linked to the latest,
// which is there.
func (q *Requests) Add(id uint64, r landing.Request, checksum bool) {
	if r.Chained {
		q.Bytes[q.latest+44] |= flagLinked
	}
	q.latest = len(q.Bytes)
	if r.Call != nil {
		q.Bytes = Request{ID: id, Call: true, Length: uint32(len(r.Call.Ask)), Checksum: checksum}.Append(q.Bytes)
		q.Bytes = append(q.Bytes, r.Call.Ask...)
		return
	}
	q.Bytes = Request{ID: id, File: r.File, Off: r.Off, Length: uint32(r.Dst.Len), Checksum: checksum}.Append(q.Bytes)
}

// Reset leaves none.
func (q *Requests) Reset() { *q = Requests{Bytes: q.Bytes[:0]} }
