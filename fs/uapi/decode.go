package uapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Why bytes from outside are refused. Each is wrapped with what was wrong.
var (
	// ErrCommand: no command has this type and number, or no request this op
	// (ENOTTY).
	ErrCommand = errors.New("unknown command")
	// ErrSize: the direction in a command's number is another, or the size in it,
	// the bytes that came with it and the structure's size member contradict each
	// other, or the structure is shorter than the first one published (EINVAL).
	ErrSize = errors.New("wrong size")
	// ErrTooBig: the structure is longer than this ABI's, and what is beyond is not
	// all zero: it asks for something that is not known here (E2BIG).
	ErrTooBig = errors.New("members of a newer ABI are set")
	// ErrFlags: a flag is set that this ABI does not know, or two that contradict
	// each other (EINVAL).
	ErrFlags = errors.New("wrong flags")
	// ErrZero: a member that must be 0 is not (EINVAL).
	ErrZero = errors.New("member must be 0")
	// ErrRange: offset + length is over 2^63 - 1, a time too long, or a number that
	// no errno has is given as one (EINVAL).
	ErrRange = errors.New("out of range")
)

// Of the structures that Decode functions return, Size is the caller's, and the
// members that the caller's structure lacks are 0. Members that are only output
// are returned as they came and mean nothing.

// DecodeInfo checks the input of an INFO.
func DecodeInfo(cmd uint32, in []byte) error {
	i, err := decodeWhole[Info](cmd, NrInfo, in, MinInfoSize)
	if err != nil {
		return err
	}
	if err := checkFlags(i.Flags); err != nil {
		return err
	}
	return checkZero("zero", i.Zero)
}

// DecodeFetch returns the input of a FETCH and how many segments its output has
// room for, from 1 to [MaxSegments].
func DecodeFetch(cmd uint32, in []byte) (f Fetch, capacity int, err error) {
	f, room, err := decode[Fetch](cmd, NrFetch, in, MinFetchSize)
	if err != nil {
		return Fetch{}, 0, err
	}
	if len(room) == 0 || len(room)%SegmentSize != 0 {
		return Fetch{}, 0, fmt.Errorf("%w: %d bytes for segments of %d", ErrSize, len(room), SegmentSize)
	}
	if err := checkFetch(&f); err != nil {
		return Fetch{}, 0, err
	}
	return f, len(room) / SegmentSize, nil
}

func checkFetch(f *Fetch) error {
	if err := checkFlags(f.Flags &^ (FetchLoan | FetchRandom | FetchSequential | FetchWait)); err != nil {
		return err
	}
	if f.Flags&FetchRandom != 0 && f.Flags&FetchSequential != 0 {
		return fmt.Errorf("%w: random and sequential at once", ErrFlags)
	}
	if err := checkWait(f); err != nil {
		return err
	}
	if err := checkZero("segment_count", f.SegmentCount); err != nil {
		return err
	}
	return checkRange(f.Offset, f.Length)
}

func checkWait(f *Fetch) error {
	if f.Flags&FetchWait == 0 {
		if err := checkZero("wait_ms", f.WaitMS); err != nil {
			return err
		}
	}
	if f.WaitMS > WaitMSMax {
		return fmt.Errorf("%w: wait_ms is %d, may be %d", ErrRange, f.WaitMS, WaitMSMax)
	}
	return checkZero("zero", f.Zero)
}

// DecodeRelease returns the input of a RELEASE.
func DecodeRelease(cmd uint32, in []byte) (Release, error) {
	r, err := decodeWhole[Release](cmd, NrRelease, in, MinReleaseSize)
	if err != nil {
		return Release{}, err
	}
	if err := checkFlags(r.Flags); err != nil {
		return Release{}, err
	}
	return r, nil
}

// DecodeDigest returns the input of a DIGEST.
func DecodeDigest(cmd uint32, in []byte) (Digest, error) {
	d, err := decodeWhole[Digest](cmd, NrDigest, in, MinDigestSize)
	if err != nil {
		return Digest{}, err
	}
	if err := checkFlags(d.Flags); err != nil {
		return Digest{}, err
	}
	if err := checkRange(d.Offset, d.Length); err != nil {
		return Digest{}, err
	}
	return d, nil
}

// decodeWhole is [decode] of a command that has nothing behind its structure.
func decodeWhole[T layout](cmd, nr uint32, in []byte, least int) (v T, err error) {
	v, rest, err := decode[T](cmd, nr, in, least)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: command %#x is %d bytes longer than its structure", ErrSize, cmd, len(rest))
	}
	return v, err
}

// decode returns the structure that in starts with and what follows it, if cmd
// is command nr, of whatever size, and in is as long as cmd says.
func decode[T layout](cmd, nr uint32, in []byte, least int) (v T, rest []byte, err error) {
	if IocNr(cmd) != nr {
		return v, nil, fmt.Errorf("%w: %#x", ErrCommand, cmd)
	}
	if cmd&iocReadWrite != iocReadWrite || len(in) != IocSize(cmd) {
		return v, nil, fmt.Errorf("%w: %d bytes came for command %#x", ErrSize, len(in), cmd)
	}
	rest, err = copyStruct(&v, in, least)
	return v, rest, err
}

// copyStruct reads a structure as the kernel's copy_struct_from_user does: in
// says in its first member how long the caller's is. What that lacks of v, which
// is zero, stays so; what it has beyond v must be zero. It returns what is
// behind the caller's structure.
func copyStruct[T layout](v *T, in []byte, least int) (rest []byte, err error) {
	if len(in) < least {
		return nil, fmt.Errorf("%w: %d bytes, must be at least %d", ErrSize, len(in), least)
	}
	size := binary.NativeEndian.Uint32(in)
	if uint64(size) < uint64(least) || uint64(size) > uint64(len(in)) {
		return nil, fmt.Errorf("%w: size is %d, must be from %d to the %d that came", ErrSize, size, least, len(in))
	}
	known := copy(bytesOf(v), in[:size])
	for _, b := range in[known:size] {
		if b != 0 {
			return nil, fmt.Errorf("%w: size is %d, known here are %d", ErrTooBig, size, known)
		}
	}
	return in[size:], nil
}

func checkFlags(flags uint32) error {
	if flags != 0 {
		return fmt.Errorf("%w: %#x", ErrFlags, flags)
	}
	return nil
}

func checkZero(name string, v uint32) error {
	if v != 0 {
		return fmt.Errorf("%w: %s is %d", ErrZero, name, v)
	}
	return nil
}

func checkRange(offset, length uint64) error {
	if offset > math.MaxInt64 || length > math.MaxInt64-offset {
		return fmt.Errorf("%w: offset %d + length %d is over 2^63 - 1", ErrRange, offset, length)
	}
	return nil
}

// DecodeFetchReply returns the head of what a FETCH answered into buf, which the
// command gave, and its segments, for [DecodeSegment]. It returns an error
// wrapping [ErrSize] if there are more of them than buf has room for, or
// [ErrTooBig] if the head has what is not known here.
func DecodeFetchReply(buf []byte) (f Fetch, segments []byte, err error) {
	room, err := copyStruct(&f, buf, MinFetchSize)
	if err != nil {
		return Fetch{}, nil, err
	}
	if fit := len(room) / SegmentSize; uint64(f.SegmentCount) > uint64(fit) {
		return Fetch{}, nil, fmt.Errorf("%w: %d segments in the room for %d", ErrSize, f.SegmentCount, fit)
	}
	return f, room[:int(f.SegmentCount)*SegmentSize], nil
}

// DecodeSegment returns segment i of those that [DecodeFetchReply] returned.
func DecodeSegment(segments []byte, i int) Segment {
	var s Segment
	copy(bytesOf(&s), segments[i*SegmentSize:][:SegmentSize])
	return s
}

// DecodeInfoReply returns what an INFO answered into buf, which the command
// gave. It returns an error wrapping [ErrSize] if that is no INFO, or has more
// devices or transports than there is room for.
func DecodeInfoReply(buf []byte) (i Info, err error) {
	if _, err := copyStruct(&i, buf, InfoSize); err != nil {
		return Info{}, err
	}
	if i.ABIVersion == 0 || i.DeviceCount > MaxDevices || i.TransportCount > MaxTransports {
		return Info{}, fmt.Errorf("%w: ABI %d, %d devices, %d transports", ErrSize, i.ABIVersion, i.DeviceCount, i.TransportCount)
	}
	return i, nil
}

// DecodeReleaseReply returns what a RELEASE answered into buf, which the command
// gave.
func DecodeReleaseReply(buf []byte) (r Release) {
	copy(bytesOf(&r), buf)
	return r
}

// DecodeDigestReply returns what a DIGEST answered into buf, which the command
// gave.
func DecodeDigestReply(buf []byte) (d Digest) {
	copy(bytesOf(&d), buf)
	return d
}
