package uapi

import (
	"encoding/binary"
	"fmt"
	"structs"
	"unsafe"
)

// NrFetchInto is the number of FETCH_INTO within its type.
const NrFetchInto = 9

// What the socket .hbmfs/ctl is asked about buffers.
const (
	CtlBuffer   = 4 // register memory of the program's
	CtlUnbuffer = 5 // end that; CtlRequest.Region is the buffer's number
)

// BatchInto is a flag of a [Batch]: what its entries ask for goes into the buffer whose
// number is in Device, at the places that their cursors say.
const BatchInto = 0x20

// Sizes of these structures, in bytes, and that below which a caller's is refused.
const (
	FetchIntoSize    = int(unsafe.Sizeof(FetchInto{}))
	CtlBufferSize    = int(unsafe.Sizeof(CtlBufferRequest{}))
	MinFetchIntoSize = 72
)

// IocFetchInto is the FETCH_INTO command.
const IocFetchInto uint32 = iocReadWrite | uint32(FetchIntoSize)<<16 | Magic<<8 | NrFetchInto

// FetchInto asks for a range of a file in memory that the program registered.
type FetchInto struct {
	_            structs.HostLayout
	Size         uint32
	Flags        uint32 // in: 0; out: FetchUnsettled
	Offset       uint64
	Length       uint64
	Buffer       uint32
	Zero         uint32
	BufferOffset uint64 // where the range's first byte goes
	Fetched      uint64 // out, as are all that follow: bytes
	FileSize     uint64
	Resident     uint64 // of the bytes fetched, those that were in device memory already
	Path         uint32 // the least direct
	Why          uint32
}

// CtlBufferRequest registers a range of the memory that one descriptor, sent along with
// it, refers to.
type CtlBufferRequest struct {
	_      structs.HostLayout
	Size   uint32
	Op     uint32 // CtlBuffer
	Device uint32 // whose memory it is, as FETCH names it
	Flags  uint32 // 0
	Offset uint64 // where in the descriptor it begins
	Length uint64
}

// DecodeFetchInto returns the input of a FETCH_INTO. That its place is in a buffer is for
// who has that to say.
func DecodeFetchInto(cmd uint32, in []byte) (FetchInto, error) {
	f, err := decodeWhole[FetchInto](cmd, NrFetchInto, in, MinFetchIntoSize)
	if err == nil {
		err = checkFetchInto(&f)
	}
	if err != nil {
		return FetchInto{}, err
	}
	return f, nil
}

func checkFetchInto(f *FetchInto) error {
	if err := checkFlags(f.Flags); err != nil {
		return err
	}
	if err := checkZero("zero", f.Zero); err != nil {
		return err
	}
	if err := checkRange(f.BufferOffset, f.Length); err != nil {
		return err
	}
	return checkRange(f.Offset, f.Length)
}

// EncodeFetchInto writes a FETCH_INTO that is as long as out.
func EncodeFetchInto(out []byte, f *FetchInto) { encode(out, f) }

// DecodeFetchIntoReply returns what a FETCH_INTO answered into buf, which the command
// gave.
func DecodeFetchIntoReply(buf []byte) (f FetchInto) {
	copy(bytesOf(&f), buf)
	return f
}

// EncodeCtlBuffer writes a request. out must have room for [CtlBufferSize].
func EncodeCtlBuffer(out []byte, r *CtlBufferRequest) { copy(out[:CtlBufferSize], bytesOf(r)) }

// DecodeCtlBuffer returns the request that the message in is. Errors wrap [ErrSize],
// [ErrCommand], [ErrFlags] or [ErrRange].
func DecodeCtlBuffer(in []byte) (r CtlBufferRequest, err error) {
	if len(in) != CtlBufferSize || binary.NativeEndian.Uint32(in) != uint32(CtlBufferSize) {
		return r, fmt.Errorf("%w: a request of %d bytes, must be %d and say so", ErrSize, len(in), CtlBufferSize)
	}
	copy(bytesOf(&r), in)
	switch {
	case r.Op != CtlBuffer:
		err = fmt.Errorf("%w: op %d", ErrCommand, r.Op)
	case r.Flags != 0:
		err = checkFlags(r.Flags)
	case r.Length == 0:
		err = fmt.Errorf("%w: a buffer of no bytes", ErrRange)
	default:
		err = checkRange(r.Offset, r.Length)
	}
	if err != nil {
		return CtlBufferRequest{}, err
	}
	return r, nil
}
