package uapi

import (
	"errors"
	"fmt"
	"math"
)

// Why bytes from outside are refused. Each is wrapped with what was wrong.
var (
	// ErrCommand: no command has this type and number, or no request this op
	// (ENOTTY).
	ErrCommand = errors.New("unknown command")
	// ErrSize: the size or direction in a command's number, the bytes that came
	// with it, or the structure's size member differ from this ABI's (EINVAL).
	ErrSize = errors.New("wrong size")
	// ErrFlags: a flag is set that this ABI does not know (EINVAL).
	ErrFlags = errors.New("unknown flags")
	// ErrZero: a member that must be 0 is not (EINVAL).
	ErrZero = errors.New("member must be 0")
	// ErrRange: offset + length is over 2^63 - 1, or a number that no errno has
	// is given as one (EINVAL).
	ErrRange = errors.New("out of range")
)

// DecodeInfo checks the input of an INFO.
func DecodeInfo(cmd uint32, in []byte) error {
	i, err := decode[Info](cmd, IocInfo, in)
	if err != nil {
		return err
	}
	if err := checkHead(i.Size, i.Flags, InfoSize); err != nil {
		return err
	}
	return checkZero("zero", i.Zero)
}

// DecodeFetch returns the input of a FETCH and how many segments its output has
// room for, from 1 to [MaxSegments]. Members that are only output are returned
// as they came and mean nothing.
func DecodeFetch(cmd uint32, in []byte) (f Fetch, capacity int, err error) {
	capacity = (Size(cmd) - FetchSize) / SegmentSize
	f, err = decode[Fetch](cmd, IocFetch(capacity), in)
	if err != nil {
		return Fetch{}, 0, err
	}
	if capacity < 1 {
		return Fetch{}, 0, fmt.Errorf("%w: no room for a segment", ErrSize)
	}
	if err := checkFetch(&f); err != nil {
		return Fetch{}, 0, err
	}
	return f, capacity, nil
}

func checkFetch(f *Fetch) error {
	if err := checkHead(f.Size, f.Flags&^FetchLoan, FetchSize); err != nil {
		return err
	}
	if err := checkZero("segment_count", f.SegmentCount); err != nil {
		return err
	}
	return checkRange(f.Offset, f.Length)
}

// DecodeRelease returns the input of a RELEASE.
func DecodeRelease(cmd uint32, in []byte) (Release, error) {
	r, err := decode[Release](cmd, IocRelease, in)
	if err != nil {
		return Release{}, err
	}
	if err := checkHead(r.Size, r.Flags, ReleaseSize); err != nil {
		return Release{}, err
	}
	return r, nil
}

// DecodeDigest returns the input of a DIGEST.
func DecodeDigest(cmd uint32, in []byte) (Digest, error) {
	d, err := decode[Digest](cmd, IocDigest, in)
	if err != nil {
		return Digest{}, err
	}
	if err := checkHead(d.Size, d.Flags, DigestSize); err != nil {
		return Digest{}, err
	}
	if err := checkRange(d.Offset, d.Length); err != nil {
		return Digest{}, err
	}
	return d, nil
}

// decode returns the structure that in starts with, if cmd is want and in is as
// long as cmd says.
func decode[T layout](cmd, want uint32, in []byte) (v T, err error) {
	if Type(cmd) != Magic || Nr(cmd) != Nr(want) {
		return v, fmt.Errorf("%w: %#x", ErrCommand, cmd)
	}
	if cmd != want {
		return v, fmt.Errorf("%w: command %#x says %d bytes", ErrSize, cmd, Size(cmd))
	}
	if len(in) != Size(cmd) {
		return v, fmt.Errorf("%w: %d bytes came for command %#x", ErrSize, len(in), cmd)
	}
	copy(bytesOf(&v), in)
	return v, nil
}

func checkHead(size, flags uint32, want int) error {
	if int64(size) != int64(want) {
		return fmt.Errorf("%w: size is %d, must be %d", ErrSize, size, want)
	}
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
// command gave. Its segments are read by [DecodeSegment]. It returns an error
// wrapping [ErrSize] if there are more of them than buf has room for.
func DecodeFetchReply(buf []byte) (Fetch, error) {
	var f Fetch
	if copy(bytesOf(&f), buf) < FetchSize {
		return Fetch{}, fmt.Errorf("%w: %d bytes are no FETCH", ErrSize, len(buf))
	}
	if room := (len(buf) - FetchSize) / SegmentSize; uint64(f.SegmentCount) > uint64(room) {
		return Fetch{}, fmt.Errorf("%w: %d segments in the room for %d", ErrSize, f.SegmentCount, room)
	}
	return f, nil
}

// DecodeSegment returns segment i of a FETCH's answer. i must be less than the
// answer's SegmentCount.
func DecodeSegment(buf []byte, i int) Segment {
	var s Segment
	copy(bytesOf(&s), buf[FetchLen(i):FetchLen(i+1)])
	return s
}

// DecodeInfoReply returns what an INFO answered into buf, which the command
// gave. It returns an error wrapping [ErrSize] if that is no INFO, or has more
// devices or transports than there is room for.
func DecodeInfoReply(buf []byte) (Info, error) {
	var i Info
	copy(bytesOf(&i), buf)
	if err := checkHead(i.Size, 0, InfoSize); err != nil {
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
