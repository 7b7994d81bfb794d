package uapi

import "unsafe"

// Magic is the type of every command.
const Magic = 0xE8

// Numbers of the commands within their type.
const (
	NrInfo    = 1
	NrFetch   = 2
	NrRelease = 3
	NrDigest  = 4
	NrPin     = 5
	NrUnpin   = 6
	NrEvict   = 7
)

// Sizes of the structures, in bytes.
const (
	InfoSize    = int(unsafe.Sizeof(Info{}))
	FetchSize   = int(unsafe.Sizeof(Fetch{}))
	SegmentSize = int(unsafe.Sizeof(Segment{}))
	ReleaseSize = int(unsafe.Sizeof(Release{}))
	DigestSize  = int(unsafe.Sizeof(Digest{}))
)

// Sizes below which a caller's structure is refused, in bytes: those that were
// published first, and of an [Info] what is before its tables.
const (
	MinInfoSize    = int(unsafe.Offsetof(Info{}.Devices))
	MinFetchSize   = 80
	MinReleaseSize = 24
	MinDigestSize  = 56
)

// The layout of a command, as include/uapi/asm-generic/ioctl.h of Linux has it:
// two bits of direction, 14 of size, 8 of type and 8 of number.
const (
	iocReadWrite = 3 << 30
	iocSizeBits  = 14
	iocSizeMax   = 1<<iocSizeBits - 1
)

// MaxSegments is how many segments one FETCH has room for at most.
const MaxSegments = (iocSizeMax - FetchSize) / SegmentSize

// Commands with this ABI's structures; for FETCH see [IocFetch]. A program of
// another version has another size in them.
const (
	IocInfo    uint32 = iocReadWrite | uint32(InfoSize)<<16 | Magic<<8 | NrInfo
	IocRelease uint32 = iocReadWrite | uint32(ReleaseSize)<<16 | Magic<<8 | NrRelease
	IocDigest  uint32 = iocReadWrite | uint32(DigestSize)<<16 | Magic<<8 | NrDigest
)

// IocFetch is the FETCH command with room for n segments, from 1 to
// [MaxSegments].
func IocFetch(n int) uint32 {
	return iocReadWrite | uint32(FetchLen(n))<<16 | Magic<<8 | NrFetch
}

// FetchLen is the length in bytes of a FETCH with room for n segments.
func FetchLen(n int) int { return FetchSize + n*SegmentSize }

// IocShortFetch is [IocFetch] of the least size, which mounts of every version know.
func IocShortFetch(n int) uint32 {
	return iocReadWrite | uint32(ShortFetchLen(n))<<16 | Magic<<8 | NrFetch
}

// ShortFetchLen is [FetchLen] of it.
func ShortFetchLen(n int) int { return MinFetchSize + n*SegmentSize }

// IocNr is the number of a command, or 0 if its type is not [Magic].
func IocNr(cmd uint32) uint32 {
	if cmd>>8&0xff != Magic {
		return 0
	}
	return cmd & 0xff
}

// IocSize is how many bytes the kernel copies in and out for a command.
func IocSize(cmd uint32) int { return int(cmd >> 16 & iocSizeMax) }
