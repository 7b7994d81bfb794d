package uapi

import (
	"structs"
	"unsafe"
)

// Pin brings a range into device memory and keeps it there for the caller's user.
type Pin struct {
	_      structs.HostLayout
	Size   uint32
	Flags  uint32 // in: 0; out: PinUnsettled
	Offset uint64
	Length uint64
	ForMs  uint64 // milliseconds; 0: until it is unpinned
	Device uint32
	Zero   uint32
	Pinned uint64 // out, as is what follows: bytes
	Cursor uint64 // where to go on, 0 once the range is done
	Path   uint32 // the least direct that what is pinned came by
	Why    uint32
}

// Unpin ends the pins of a range.
type Unpin struct {
	_        structs.HostLayout
	Size     uint32
	Flags    uint32 // in: 0
	Offset   uint64
	Length   uint64
	Unpinned uint64 // out: bytes
}

// Evict drops what is neither leased nor pinned of a range.
type Evict struct {
	_       structs.HostLayout
	Size    uint32
	Flags   uint32 // in: 0
	Offset  uint64
	Length  uint64
	Evicted uint64 // out: bytes
}

// PinUnsettled: the file may have changed unnoticed, as FetchUnsettled says.
const PinUnsettled = 0x1

// Sizes of these structures, in bytes, and those below which a caller's is refused.
const (
	PinSize   = int(unsafe.Sizeof(Pin{}))
	UnpinSize = int(unsafe.Sizeof(Unpin{}))
	EvictSize = int(unsafe.Sizeof(Evict{}))

	MinPinSize   = 64
	MinUnpinSize = 32
	MinEvictSize = 32
)

// Their commands.
const (
	IocPin   uint32 = iocReadWrite | uint32(PinSize)<<16 | Magic<<8 | NrPin
	IocUnpin uint32 = iocReadWrite | uint32(UnpinSize)<<16 | Magic<<8 | NrUnpin
	IocEvict uint32 = iocReadWrite | uint32(EvictSize)<<16 | Magic<<8 | NrEvict
)

// DecodePin returns the input of a PIN.
func DecodePin(cmd uint32, in []byte) (Pin, error) {
	p, err := decodeWhole[Pin](cmd, NrPin, in, MinPinSize)
	if err == nil {
		err = checkSpan(p.Flags, p.Offset, p.Length)
	}
	if err == nil {
		err = checkZero("zero", p.Zero)
	}
	if err != nil {
		return Pin{}, err
	}
	return p, nil
}

// DecodeUnpin returns the input of an UNPIN.
func DecodeUnpin(cmd uint32, in []byte) (Unpin, error) {
	u, err := decodeWhole[Unpin](cmd, NrUnpin, in, MinUnpinSize)
	if err == nil {
		err = checkSpan(u.Flags, u.Offset, u.Length)
	}
	if err != nil {
		return Unpin{}, err
	}
	return u, nil
}

// DecodeEvict returns the input of an EVICT.
func DecodeEvict(cmd uint32, in []byte) (Evict, error) {
	e, err := decodeWhole[Evict](cmd, NrEvict, in, MinEvictSize)
	if err == nil {
		err = checkSpan(e.Flags, e.Offset, e.Length)
	}
	if err != nil {
		return Evict{}, err
	}
	return e, nil
}

// checkSpan is of a range, and flags of which there are none.
func checkSpan(flags uint32, offset, length uint64) error {
	if err := checkFlags(flags); err != nil {
		return err
	}
	return checkRange(offset, length)
}

// EncodePin writes a PIN that is as long as out.
func EncodePin(out []byte, p *Pin) { encode(out, p) }

// EncodeUnpin writes an UNPIN that is as long as out.
func EncodeUnpin(out []byte, u *Unpin) { encode(out, u) }

// EncodeEvict writes an EVICT that is as long as out.
func EncodeEvict(out []byte, e *Evict) { encode(out, e) }

// DecodePinReply returns what a PIN answered into buf, which the command gave.
func DecodePinReply(buf []byte) (p Pin) {
	copy(bytesOf(&p), buf)
	return p
}

// DecodeUnpinReply returns what an UNPIN answered into buf, which the command gave.
func DecodeUnpinReply(buf []byte) (u Unpin) {
	copy(bytesOf(&u), buf)
	return u
}

// DecodeEvictReply returns what an EVICT answered into buf, which the command gave.
func DecodeEvictReply(buf []byte) (e Evict) {
	copy(bytesOf(&e), buf)
	return e
}
