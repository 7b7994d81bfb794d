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

func FuzzDecodeFetch(f *testing.F) {
	f.Add(IocFetch(1), fetchInput(1, Fetch{Size: uint32(FetchSize), Length: 4096}))
	f.Add(IocFetch(MaxSegments), fetchInput(MaxSegments, Fetch{Size: uint32(FetchSize), Offset: math.MaxInt64}))
	f.Add(IocFetch(2), fetchInput(2, Fetch{Size: uint32(FetchSize), Flags: FetchLoan}))
	f.Add(IocFetch(0), fetchInput(0, Fetch{}))
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
		if cmd != IocFetch(capacity) || capacity < 1 || capacity > MaxSegments {
			t.Fatalf("command %#x has room for %d", cmd, capacity)
		}
		if r.Flags&^FetchLoan != 0 || r.SegmentCount != 0 || !inRange(r.Offset, r.Length) {
			t.Fatalf("accepted %+v", r)
		}
		if !bytes.Equal(in[:FetchSize], encoded(r)) {
			t.Fatal("decoded something else than came")
		}
	})
}

func FuzzDecodeFetchReply(f *testing.F) {
	f.Add(fetchInput(2, Fetch{SegmentCount: 2}))
	f.Add(stale(FetchSize))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, buf []byte) {
		r, err := DecodeFetchReply(buf)
		if err != nil {
			return
		}
		for i := range int(r.SegmentCount) {
			if s := DecodeSegment(buf, i); !bytes.Equal(encoded(s), buf[FetchLen(i):FetchLen(i+1)]) {
				t.Fatalf("segment %d: %+v", i, s)
			}
		}
	})
}

func FuzzDecodeInfo(f *testing.F) {
	f.Add(IocInfo, encoded(Info{Size: uint32(InfoSize)}))
	f.Add(IocInfo, encoded(Info{Size: uint32(InfoSize), Zero: 1}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		if DecodeInfo(cmd, in) == nil && (cmd != IocInfo || len(in) != InfoSize) {
			t.Fatalf("accepted %#x with %d bytes", cmd, len(in))
		}
	})
}

func FuzzDecodeRelease(f *testing.F) {
	f.Add(IocRelease, encoded(Release{Size: uint32(ReleaseSize), Handle: 1}))
	f.Add(IocRelease, encoded(Release{Size: uint32(ReleaseSize), Flags: 1}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		r, err := DecodeRelease(cmd, in)
		if err == nil && (cmd != IocRelease || !bytes.Equal(in, encoded(r)) || r.Flags != 0) {
			t.Fatalf("accepted %#x, %+v", cmd, r)
		}
	})
}

func FuzzDecodeDigest(f *testing.F) {
	f.Add(IocDigest, encoded(Digest{Size: uint32(DigestSize), Length: 4096}))
	f.Add(IocDigest, encoded(Digest{Size: uint32(DigestSize), Offset: 1, Length: math.MaxInt64}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		d, err := DecodeDigest(cmd, in)
		if err == nil && (cmd != IocDigest || !bytes.Equal(in, encoded(d)) || !inRange(d.Offset, d.Length)) {
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
