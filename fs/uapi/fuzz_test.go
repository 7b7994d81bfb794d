package uapi

import (
	"bytes"
	"math"
	"testing"
)

// inRange reports whether offset + length is at most 2^63 - 1.
func inRange(offset, length uint64) bool {
	return offset <= math.MaxInt64 && length <= math.MaxInt64-offset
}

// sameStruct reports whether v is the structure that in starts with, as far as
// the two versions share it, and all else is zero on both sides.
func sameStruct[T layout](v T, size uint32, in []byte) bool {
	known := encoded(v)
	n := min(len(known), int(size))
	return bytes.Equal(known[:n], in[:n]) && allZero(known[n:]) && allZero(in[n:size])
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// isCommand reports whether cmd is command nr with that size.
func isCommand(cmd, nr uint32, size int) bool {
	return cmd == iocReadWrite|uint32(size)<<16|Magic<<8|nr
}

func FuzzDecodeFetch(f *testing.F) {
	f.Add(IocFetch(1), fetchInput(1, Fetch{Size: uint32(FetchSize), Length: 4096}))
	f.Add(IocFetch(MaxSegments), fetchInput(MaxSegments, Fetch{Size: uint32(FetchSize), Offset: math.MaxInt64}))
	f.Add(IocFetch(2), fetchInput(2, Fetch{Size: uint32(FetchSize), Flags: FetchLoan}))
	f.Add(IocFetch(2), fetchInput(2, Fetch{Size: uint32(FetchSize), Flags: FetchRandom | FetchSequential}))
	f.Add(IocFetch(2), encodedLike(IocFetch(2), Fetch{Size: uint32(FetchLen(1))}))
	f.Add(IocFetch(2), fetchInput(2, Fetch{Size: uint32(FetchSize), Flags: FetchWait, WaitMS: WaitMSMax}))
	f.Add(IocFetch(2), fetchInput(2, Fetch{Size: uint32(FetchSize), WaitMS: 1}))
	f.Add(IocFetch(0), make([]byte, FetchSize))
	f.Add(uint32(0x5401), []byte{})
	f.Add(uint32(iocReadWrite|Magic<<8|NrFetch), []byte{})
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		r, capacity, err := DecodeFetch(cmd, in)
		if err != nil {
			if r != (Fetch{}) || capacity != 0 {
				t.Fatalf("%+v and %d came with %v", r, capacity, err)
			}
			return
		}
		if !isCommand(cmd, NrFetch, int(r.Size)+capacity*SegmentSize) || capacity < 1 || capacity > MaxSegments {
			t.Fatalf("command %#x has room for %d", cmd, capacity)
		}
		if r.WaitMS > WaitMSMax || r.WaitMS > 0 && r.Flags&FetchWait == 0 || r.Zero != 0 {
			t.Fatalf("accepted %+v", r)
		}
		if r.Flags&^(FetchLoan|FetchRandom|FetchSequential|FetchWait) != 0 || r.Flags&(FetchRandom|FetchSequential) == FetchRandom|FetchSequential || r.SegmentCount != 0 || !inRange(r.Offset, r.Length) {
			t.Fatalf("accepted %+v", r)
		}
		if !sameStruct(r, r.Size, in) {
			t.Fatal("decoded something else than came")
		}
		r.SegmentCount = uint32(capacity)
		EncodeFetch(in, &r)
		EncodeSegment(in, &r, capacity-1, Segment{})
	})
}

func FuzzDecodeFetchReply(f *testing.F) {
	f.Add(fetchInput(2, Fetch{Size: uint32(FetchSize), SegmentCount: 2}))
	f.Add(stale(FetchSize))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, buf []byte) {
		r, segments, err := DecodeFetchReply(buf)
		if err != nil {
			return
		}
		for i := range int(r.SegmentCount) {
			if s := DecodeSegment(segments, i); !bytes.Equal(encoded(s), buf[int(r.Size)+i*SegmentSize:][:SegmentSize]) {
				t.Fatalf("segment %d: %+v", i, s)
			}
		}
	})
}

func FuzzDecodeInfo(f *testing.F) {
	f.Add(IocInfo, encoded(Info{Size: uint32(InfoSize)}))
	f.Add(IocInfo, encoded(Info{Size: uint32(InfoSize), Zero: 1}))
	f.Add(sized(IocInfo, MinInfoSize), encodedLike(sized(IocInfo, MinInfoSize), Info{Size: uint32(MinInfoSize)}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		if DecodeInfo(cmd, in) != nil {
			return
		}
		if !isCommand(cmd, NrInfo, len(in)) || len(in) < MinInfoSize || len(in) > InfoSize && !allZero(in[InfoSize:]) {
			t.Fatalf("accepted %#x with %d bytes", cmd, len(in))
		}
	})
}

func FuzzDecodeRelease(f *testing.F) {
	f.Add(IocRelease, encoded(Release{Size: uint32(ReleaseSize), Handle: 1}))
	f.Add(IocRelease, encoded(Release{Size: uint32(ReleaseSize), Flags: 1}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		r, err := DecodeRelease(cmd, in)
		if err == nil && (!isCommand(cmd, NrRelease, len(in)) || !sameStruct(r, uint32(len(in)), in) || r.Flags != 0) {
			t.Fatalf("accepted %#x, %+v", cmd, r)
		}
	})
}

func FuzzDecodeDigest(f *testing.F) {
	f.Add(IocDigest, encoded(Digest{Size: uint32(DigestSize), Length: 4096}))
	f.Add(IocDigest, encoded(Digest{Size: uint32(DigestSize), Offset: 1, Length: math.MaxInt64}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		d, err := DecodeDigest(cmd, in)
		if err == nil && (!isCommand(cmd, NrDigest, len(in)) || !sameStruct(d, uint32(len(in)), in) || !inRange(d.Offset, d.Length)) {
			t.Fatalf("accepted %#x, %+v", cmd, d)
		}
	})
}

func FuzzDecodeCtlRequest(f *testing.F) {
	f.Add(encoded(CtlRequest{Size: uint32(CtlRequestSize), Op: CtlRegion, Region: 1}))
	f.Add(encoded(CtlRequest{Size: uint32(CtlRequestSize), Op: CtlStats}))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := DecodeCtlRequest(in)
		if err == nil && (!bytes.Equal(in, encoded(r)) || r.Zero != 0) {
			t.Fatalf("accepted %+v", r)
		}
	})
}

func FuzzDecodeCtlReply(f *testing.F) {
	f.Add(encoded(CtlReply{Size: uint32(CtlReplySize), Length: 1 << 20}))
	f.Add(append(encoded(CtlReply{Size: uint32(CtlReplySize), Length: 2}), "{}"...))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, rest, err := DecodeCtlReply(in)
		if err != nil {
			return
		}
		if !inRange(r.FDOffset, r.Length) || r.Error < 0 || len(rest) != len(in)-CtlReplySize {
			t.Fatalf("accepted %+v and %d bytes", r, len(rest))
		}
	})
}
