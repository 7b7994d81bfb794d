package uapi

import (
	"fmt"
	"structs"
	"unsafe"
)

// CtlRing is the op that makes a ring.
const CtlRing = 6

// What a ring may have.
const (
	RingEntriesMax   = 4096    // submissions
	RingNameBytesMax = 1 << 20 // bytes of names
	RingNameMax      = 4095    // bytes of the name of one
)

// NrRingFile is the number of the command that registers an open file with a ring, or
// ends that.
const NrRingFile = 10

// RingRemove, a flag of [RingFile]: end a registration.
const RingRemove = 0x1

// What the two sides tell each other beside their counters.
const (
	RingNeedWakeup = 0x1 // of both: who sets it sleeps, or is about to
	RingBroken     = 0x2 // of the mount's: it has ended the ring, for what was in it
)

// What is asked of a ring.
const (
	RingNop       = 0
	RingFetch     = 1
	RingFetchInto = 2
	RingRelease   = 3
	RingCancel    = 4
)

// RingHit, a flag of [RingDone]: all of it was in device memory already.
const RingHit = 0x100

// CtlRingRequest asks for a ring on the control socket.
type CtlRingRequest struct {
	_         structs.HostLayout
	Size      uint32
	Op        uint32 // CtlRing
	Entries   uint32 // of submissions: a power of two, from 1 to RingEntriesMax
	NameBytes uint32 // at most RingNameBytesMax
	Flags     uint32 // 0
	Zero      uint32
}

// RingFile registers an open file or directory with a ring.
type RingFile struct {
	_     structs.HostLayout
	Size  uint32
	Flags uint32 // in: 0 or RingRemove
	Ring  uint32
	File  uint32 // out; in with RingRemove
}

// Ring is what the memory of a ring begins with. Its counters run freely, and are
// accessed by sync/atomic only.
type Ring struct {
	_                 structs.HostLayout
	Size              uint32
	Entries           uint32
	CompletionEntries uint32 // twice as many
	SubmissionsOffset uint32
	CompletionsOffset uint32
	NamesOffset       uint32
	NameBytes         uint32
	Ring              uint32
	Zero              [8]uint32

	SubmissionTail uint32 // the program's
	_              [15]uint32

	SubmissionHead  uint32 // the mount's, as are the next three
	SubmissionFlags uint32
	Revocations     uint32 // how often memory of the user's was taken away
	_               [13]uint32

	CompletionTail uint32
	_              [15]uint32

	CompletionHead  uint32 // the program's, as is the next
	CompletionFlags uint32
	_               [14]uint32
}

// RingOp is a submission.
type RingOp struct {
	_            structs.HostLayout
	UserData     uint64
	Op           uint16
	Flags        uint16 // RingFetch: FetchRandom or FetchSequential
	File         uint32
	Offset       uint64
	Length       uint64
	Handle       uint64 // RingFetch: to release first; RingRelease: it; RingCancel: user data
	Name         uint32 // offset in the names
	NameLength   uint16 // 0: the file itself
	Zero         uint16
	Buffer       uint32
	Device       uint32
	BufferOffset uint64
}

// RingDone is a completion.
type RingDone struct {
	_            structs.HostLayout
	UserData     uint64
	Error        uint16 // errno, or 0
	Flags        uint16 // FetchUnsettled, BatchMore, RingHit
	Path         uint16
	Why          uint16
	Handle       uint64
	Length       uint64 // bytes
	Cursor       uint64
	FileSize     uint64
	RegionOffset uint64
	Region       uint32
	Zero         uint32
}

// Sizes of these structures, in bytes, and that below which a caller's is refused.
const (
	CtlRingRequestSize = int(unsafe.Sizeof(CtlRingRequest{}))
	RingFileSize       = int(unsafe.Sizeof(RingFile{}))
	RingHeadSize       = int(unsafe.Sizeof(Ring{}))
	RingOpSize         = int(unsafe.Sizeof(RingOp{}))
	RingDoneSize       = int(unsafe.Sizeof(RingDone{}))

	MinRingFileSize = 16
)

// IocRingFile is the command of a [RingFile].
const IocRingFile uint32 = iocReadWrite | uint32(RingFileSize)<<16 | Magic<<8 | NrRingFile

// EncodeCtlRingRequest writes a request. out must have room for [CtlRingRequestSize].
func EncodeCtlRingRequest(out []byte, r *CtlRingRequest) { copy(out[:CtlRingRequestSize], bytesOf(r)) }

// DecodeCtlRingRequest returns the request for a ring that the message in is. Errors
// wrap [ErrSize], [ErrCommand], [ErrFlags], [ErrZero], or [ErrRange].
func DecodeCtlRingRequest(in []byte) (CtlRingRequest, error) {
	var r CtlRingRequest
	if len(in) != CtlRingRequestSize {
		return r, fmt.Errorf("%w: a request of %d bytes", ErrSize, len(in))
	}
	copy(bytesOf(&r), in)
	if err := r.check(); err != nil {
		return CtlRingRequest{}, err
	}
	return r, nil
}

func (r *CtlRingRequest) check() error {
	if r.Op != CtlRing {
		return fmt.Errorf("%w: op %d", ErrCommand, r.Op)
	}
	if r.Size != uint32(CtlRingRequestSize) {
		return fmt.Errorf("%w: size is %d, must be %d", ErrSize, r.Size, CtlRingRequestSize)
	}
	if err := checkFlags(r.Flags); err != nil {
		return err
	}
	if err := checkZero("zero", r.Zero); err != nil {
		return err
	}
	return checkRing(r.Entries, r.NameBytes)
}

func checkRing(entries, nameBytes uint32) error {
	if entries == 0 || entries > RingEntriesMax || entries&(entries-1) != 0 {
		return fmt.Errorf("%w: %d entries, must be a power of two up to %d", ErrRange, entries, RingEntriesMax)
	}
	if nameBytes > RingNameBytesMax {
		return fmt.Errorf("%w: %d bytes of names, may be %d", ErrRange, nameBytes, RingNameBytesMax)
	}
	return nil
}

// DecodeRingFile returns the input of a RING_FILE.
func DecodeRingFile(cmd uint32, in []byte) (RingFile, error) {
	f, err := decodeWhole[RingFile](cmd, NrRingFile, in, MinRingFileSize)
	if err == nil {
		err = checkFlags(f.Flags &^ RingRemove)
	}
	if err != nil {
		return RingFile{}, err
	}
	return f, nil
}

// EncodeRingFile writes a RING_FILE that is as long as out.
func EncodeRingFile(out []byte, f *RingFile) { encode(out, f) }

// DecodeRingFileReply returns what a RING_FILE answered into buf, which the command gave.
func DecodeRingFileReply(buf []byte) (f RingFile) {
	copy(bytesOf(&f), buf)
	return f
}

// Check returns nil if a submission asks for something that is known. Errors wrap
// [ErrCommand], [ErrFlags], [ErrZero], or [ErrRange].
func (o *RingOp) Check() error {
	switch o.Op {
	case RingNop:
		return o.checkOnly(RingOp{})
	case RingFetch:
		if o.Buffer != 0 || o.BufferOffset != 0 {
			return fmt.Errorf("%w: a FETCH names a buffer", ErrZero)
		}
		return o.checkFetch()
	case RingFetchInto:
		if o.Handle != 0 || o.Device != 0 {
			return fmt.Errorf("%w: a FETCH_INTO names a handle or a device", ErrZero)
		}
		if err := checkFlags(uint32(o.Flags)); err != nil {
			return err
		}
		if err := checkRange(o.BufferOffset, o.Length); err != nil {
			return err
		}
		return o.checkFetch()
	case RingRelease, RingCancel:
		return o.checkOnly(RingOp{Handle: o.Handle})
	}
	return fmt.Errorf("%w: op %d of a ring", ErrCommand, o.Op)
}

func (o *RingOp) checkFetch() error {
	if f := uint32(o.Flags); f&^(FetchRandom|FetchSequential) != 0 || f == FetchRandom|FetchSequential {
		return fmt.Errorf("%w: %#x", ErrFlags, f)
	}
	if err := checkZero("zero", uint32(o.Zero)); err != nil {
		return err
	}
	if o.NameLength > RingNameMax {
		return fmt.Errorf("%w: a name of %d bytes", ErrRange, o.NameLength)
	}
	return checkRange(o.Offset, o.Length)
}

// checkOnly returns nil if nothing is set but what want has, and what all have.
func (o *RingOp) checkOnly(want RingOp) error {
	want.UserData, want.Op = o.UserData, o.Op
	if *o != want {
		return fmt.Errorf("%w: op %d has members that it does not know", ErrZero, o.Op)
	}
	return nil
}
