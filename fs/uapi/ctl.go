package uapi

import (
	"encoding/binary"
	"fmt"
	"structs"
	"unsafe"
)

// What can be asked of the socket .hbmfs/ctl.
const (
	CtlRegion = 1 // the descriptor of a region
	CtlStats  = 2 // the mount's counters, in JSON
	CtlUnpin  = 3 // end all pins of the user
	CtlDMABuf = 7 // the dma-buf of a region
	CtlRevoke = 8 // take a device's memory from all users; CtlRequest.Region is its number
)

// CtlMax is the length of the longest message on the socket, in bytes.
const CtlMax = 65536

// Sizes of the structures, in bytes.
const (
	CtlRequestSize = int(unsafe.Sizeof(CtlRequest{}))
	CtlReplySize   = int(unsafe.Sizeof(CtlReply{}))
)

// maxErrno is the largest errno that the kernel returns.
const maxErrno = 4095

// CtlRequest is a request on the socket.
type CtlRequest struct {
	_      structs.HostLayout
	Size   uint32
	Op     uint32
	Region uint32 // CtlRegion, CtlDMABuf: a segment's; CtlUnbuffer: a buffer's number; else 0
	Zero   uint32
}

// CtlReply is the answer. The JSON of CtlStats follows it in the same message.
type CtlReply struct {
	_        structs.HostLayout
	Size     uint32
	Error    int32  // errno, 0 for success
	Length   uint64 // bytes of the region or buffer, of what follows, or that were pinned
	FDOffset uint64 // CtlRegion, CtlDMABuf: where in the descriptor the region starts
	Region   uint32 // CtlRegion: as asked for; CtlBuffer: the buffer's number; and the device it is on
	Device   uint32
}

// EncodeCtlRequest writes a request. out must have room for [CtlRequestSize].
func EncodeCtlRequest(out []byte, r *CtlRequest) { copy(out[:CtlRequestSize], bytesOf(r)) }

// EncodeCtlReply writes a reply. out must have room for [CtlReplySize].
func EncodeCtlReply(out []byte, r *CtlReply) { copy(out[:CtlReplySize], bytesOf(r)) }

// DecodeCtlRequest returns the request that the message in is. Errors wrap
// [ErrSize], [ErrZero], or [ErrCommand] for an op that is not known.
func DecodeCtlRequest(in []byte) (CtlRequest, error) {
	var r CtlRequest
	if len(in) != CtlRequestSize {
		return r, fmt.Errorf("%w: a request of %d bytes", ErrSize, len(in))
	}
	copy(bytesOf(&r), in)
	if err := checkCtlRequest(&r); err != nil {
		return CtlRequest{}, err
	}
	return r, nil
}

func checkCtlRequest(r *CtlRequest) error {
	if r.Size != uint32(CtlRequestSize) {
		return fmt.Errorf("%w: size is %d, must be %d", ErrSize, r.Size, CtlRequestSize)
	}
	if err := checkZero("zero", r.Zero); err != nil {
		return err
	}
	switch r.Op {
	case CtlRegion, CtlRevoke, CtlDMABuf, CtlUnbuffer:
		return nil
	case CtlStats, CtlUnpin:
		return checkZero("region", r.Region)
	}
	return fmt.Errorf("%w: op %d", ErrCommand, r.Op)
}

// DecodeCtlReply returns the reply that the message in starts with, and what
// follows it. A reply with an error is returned as such; of one without, Length
// and FDOffset add up to at most 2^63 - 1. Errors wrap [ErrSize] or [ErrRange].
func DecodeCtlReply(in []byte) (r CtlReply, rest []byte, err error) {
	if copy(bytesOf(&r), in) < CtlReplySize {
		return CtlReply{}, nil, fmt.Errorf("%w: a reply of %d bytes", ErrSize, len(in))
	}
	if r.Size != uint32(CtlReplySize) {
		return CtlReply{}, nil, fmt.Errorf("%w: size is %d, must be %d", ErrSize, r.Size, CtlReplySize)
	}
	if r.Error < 0 || r.Error > maxErrno {
		return CtlReply{}, nil, fmt.Errorf("%w: %d is no errno", ErrRange, r.Error)
	}
	if err := checkRange(r.FDOffset, r.Length); err != nil {
		return CtlReply{}, nil, err
	}
	return r, in[CtlReplySize:], nil
}

// CtlOp is what a message asks for, 0 if it is too short to say.
func CtlOp(in []byte) uint32 {
	if len(in) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint32(in[4:])
}
