package uapi

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
)

// stale is a buffer as the daemon gets it: full of somebody else's bytes, and
// at no particular alignment.
func stale(n int) []byte { return bytes.Repeat([]byte{0xA5}, n+1)[1:] }

func encoded[T layout](v T) []byte { return slices.Clone(bytesOf(&v)) }

func fetchInput(n int, f Fetch) []byte {
	out := stale(FetchLen(n))
	EncodeFetch(out, &f)
	return out
}

func TestFetchRoundTrip(t *testing.T) {
	want := Fetch{Size: uint32(FetchSize), Offset: 0x1112131415161718, Length: 0x2122232425262728,
		Release: 0x3132333435363738, Device: 0x41424344}
	for _, n := range []int{1, 2, 64, MaxSegments} {
		for _, want.Flags = range []uint32{0, FetchLoan, FetchRandom, FetchLoan | FetchSequential, FetchWait, FetchLoan | FetchRandom | FetchWait} {
			if want.WaitMS = 0; want.Flags&FetchWait != 0 {
				want.WaitMS = WaitMSMax
			}
			got, capacity, err := DecodeFetch(IocFetch(n), fetchInput(n, want))
			if err != nil || got != want || capacity != n {
				t.Errorf("room for %d: %+v, %d, %v", n, got, capacity, err)
			}
		}
	}
}

func TestFetchReplyRoundTrip(t *testing.T) {
	const room, count = 5, 3
	out := stale(FetchLen(room))
	head := Fetch{Size: uint32(FetchSize), Flags: FetchUnsettled, SegmentCount: count, Handle: 7,
		Fetched: 1 << 40, Cursor: 1 << 41, FileSize: 1 << 42, Path: uint32(PathStaged), Why: uint32(WhyNoDirect)}
	segment := func(i int) Segment {
		return Segment{RegionOffset: uint64(i) << 20, FileOffset: uint64(i) << 21, Length: 1 << 20,
			Region: uint32(i), Path: uint16(PathRDMA), Flags: SegmentHit}
	}
	EncodeFetch(out, &head)
	for i := range count {
		EncodeSegment(out, &head, i, segment(i))
	}
	got, segments, err := DecodeFetchReply(out)
	if err != nil || got != head {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range count {
		if s := DecodeSegment(segments, i); s != segment(i) {
			t.Errorf("segment %d: %+v", i, s)
		}
	}
	if rest := out[FetchLen(count):]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Errorf("the room for segments that are not there holds %x", rest)
	}
}

func TestFetchEncodeKeepsSegmentsWrittenBefore(t *testing.T) {
	out := stale(FetchLen(2))
	head := Fetch{Size: uint32(FetchSize), SegmentCount: 1}
	want := Segment{Region: 9, Length: 1}
	EncodeSegment(out, &head, 0, want)
	EncodeFetch(out, &head)
	if got := DecodeSegment(out[FetchSize:], 0); got != want {
		t.Errorf("%+v", got)
	}
}

func TestFetchReplyRefused(t *testing.T) {
	tooMany := stale(FetchLen(2))
	EncodeFetch(tooMany, &Fetch{Size: uint32(FetchSize), SegmentCount: 2})
	for name, buf := range map[string][]byte{
		"short head":       make([]byte, FetchSize-1),
		"segments cut off": tooMany[:FetchLen(2)-1],
		"stale everything": stale(FetchLen(3)),
		"no room for any":  tooMany[:FetchSize],
	} {
		if f, _, err := DecodeFetchReply(buf); !errors.Is(err, ErrSize) || f != (Fetch{}) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

func TestInfoRoundTrip(t *testing.T) {
	in := Info{Size: uint32(InfoSize)}
	if err := DecodeInfo(IocInfo, encoded(in)); err != nil {
		t.Fatal(err)
	}
	in.Devices[15].ID = 1 // output members do not matter
	in.ABIVersion = 99
	if err := DecodeInfo(IocInfo, encoded(in)); err != nil {
		t.Fatal(err)
	}
	out := stale(InfoSize)
	EncodeInfo(out, &in)
	if !bytes.Equal(out, encoded(in)) {
		t.Error("the reply differs from what was encoded")
	}
}

func TestReleaseRoundTrip(t *testing.T) {
	want := Release{Size: uint32(ReleaseSize), Handle: math.MaxUint64, Released: 3}
	out := stale(ReleaseSize)
	EncodeRelease(out, &want)
	if got, err := DecodeRelease(IocRelease, out); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDigestRoundTrip(t *testing.T) {
	want := Digest{Size: uint32(DigestSize), Offset: 1, Length: math.MaxInt64 - 1, SHA256: [32]byte{0: 1, 31: 2}}
	out := stale(DigestSize)
	EncodeDigest(out, &want)
	if got, err := DecodeDigest(IocDigest, out); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestInputRefused(t *testing.T) {
	fetch := Fetch{Size: uint32(FetchSize)}
	with := func(change func(*Fetch)) []byte {
		f := fetch
		change(&f)
		return encoded(f)
	}
	pad := make([]byte, SegmentSize)
	decodeFetch := func(cmd uint32, in []byte) error { _, _, err := DecodeFetch(cmd, in); return err }
	decodeRelease := func(cmd uint32, in []byte) error { _, err := DecodeRelease(cmd, in); return err }
	decodeDigest := func(cmd uint32, in []byte) error { _, err := DecodeDigest(cmd, in); return err }
	readOnly := func(cmd uint32) uint32 { return cmd &^ (1 << 30) }

	info, release, digest := Info{Size: uint32(InfoSize)}, Release{Size: uint32(ReleaseSize)}, Digest{Size: uint32(DigestSize)}
	zeroInfo, flagInfo := info, info
	zeroInfo.Zero, flagInfo.Flags = 1, 1
	longDigest, hugeDigest := digest, digest
	longDigest.Offset, longDigest.Length = 1, math.MaxInt64
	hugeDigest.Offset = math.MaxUint64

	for _, c := range []struct {
		name   string
		decode func(uint32, []byte) error
		cmd    uint32
		in     []byte
		want   error
	}{
		{"fetch: other magic", decodeFetch, IocFetch(1) ^ 1<<8, append(encoded(fetch), pad...), ErrCommand},
		{"fetch: other nr", decodeFetch, IocFetch(1) ^ 1, append(encoded(fetch), pad...), ErrCommand},
		{"fetch: terminal's TCGETS", decodeFetch, 0x5401, nil, ErrCommand},
		{"fetch: no direction", decodeFetch, IocFetch(1) & (1<<30 - 1), nil, ErrSize},
		{"fetch: read only", decodeFetch, readOnly(IocFetch(1)), append(encoded(fetch), pad...), ErrSize},
		{"fetch: room for none", decodeFetch, IocFetch(0), encoded(fetch), ErrSize},
		{"fetch: size 0", decodeFetch, sized(IocFetch(1), 0), nil, ErrSize},
		{"fetch: half a head", decodeFetch, sized(IocFetch(1), 40), encoded(fetch)[:40], ErrSize},
		{"fetch: half a segment", decodeFetch, sized(IocFetch(1), FetchSize+16), append(encoded(fetch), pad[:16]...), ErrSize},
		{"fetch: input cut off", decodeFetch, IocFetch(1), encoded(fetch), ErrSize},
		{"fetch: size member", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Size = 0 }), pad...), ErrSize},
		{"fetch: odd size member", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Size++ }), pad...), ErrSize},
		{"fetch: flags", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Flags = FetchUnsettled }), pad...), ErrFlags},
		{"fetch: an output flag beside the loan", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Flags = FetchLoan | FetchUnsettled }), pad...), ErrFlags},
		{"fetch: the flag after the last", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Flags = FetchWait << 1 }), pad...), ErrFlags},
		{"fetch: random and sequential", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Flags = FetchRandom | FetchSequential }), pad...), ErrFlags},
		{"fetch: a wait without the flag", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Flags, f.WaitMS = FetchLoan, 1 }), pad...), ErrZero},
		{"fetch: too long a wait", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Flags, f.WaitMS = FetchWait, WaitMSMax+1 }), pad...), ErrRange},
		{"fetch: zero", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Flags, f.Zero = FetchWait, 1 }), pad...), ErrZero},
		{"fetch: segment count", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.SegmentCount = 1 }), pad...), ErrZero},
		{"fetch: negative offset", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Offset = 1 << 63 }), pad...), ErrRange},
		{"fetch: overflow", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Offset = 1; f.Length = math.MaxInt64 }), pad...), ErrRange},
		{"fetch: wraps around", decodeFetch, IocFetch(1), append(with(func(f *Fetch) { f.Offset = 1; f.Length = math.MaxUint64 }), pad...), ErrRange},
		{"info: no input", DecodeInfo, IocInfo, nil, ErrSize},
		{"info: read only", DecodeInfo, readOnly(IocInfo), encoded(info), ErrSize},
		{"info: command's size", DecodeInfo, sized(IocInfo, InfoSize+8), append(encoded(info), pad[:8]...), ErrSize},
		{"info: size member", DecodeInfo, IocInfo, encoded(Info{}), ErrSize},
		{"info: flags", DecodeInfo, IocInfo, encoded(flagInfo), ErrFlags},
		{"info: zero", DecodeInfo, IocInfo, encoded(zeroInfo), ErrZero},
		{"info: a fetch", DecodeInfo, IocFetch(1), append(encoded(fetch), pad...), ErrCommand},
		{"release: size member", decodeRelease, IocRelease, encoded(Release{}), ErrSize},
		{"release: flags", decodeRelease, IocRelease, encoded(Release{Size: release.Size, Flags: 1}), ErrFlags},
		{"release: input cut off", decodeRelease, IocRelease, encoded(release)[:8], ErrSize},
		{"release: too much input", decodeRelease, IocRelease, append(encoded(release), 0), ErrSize},
		{"digest: size member", decodeDigest, IocDigest, encoded(Digest{}), ErrSize},
		{"digest: flags", decodeDigest, IocDigest, encoded(Digest{Size: digest.Size, Flags: 1 << 31}), ErrFlags},
		{"digest: overflow", decodeDigest, IocDigest, encoded(longDigest), ErrRange},
		{"digest: negative offset", decodeDigest, IocDigest, encoded(hugeDigest), ErrRange},
		{"digest: another command", decodeDigest, IocRelease, encoded(release), ErrCommand},
	} {
		if err := c.decode(c.cmd, c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestCommandParts(t *testing.T) {
	cmd := IocFetch(3)
	if IocNr(cmd) != NrFetch || IocNr(cmd^1<<8) != 0 || IocSize(cmd) != FetchLen(3) {
		t.Errorf("%#x: nr %d, size %d; of another type nr %d", cmd, IocNr(cmd), IocSize(cmd), IocNr(cmd^1<<8))
	}
}

func TestCtlRequest(t *testing.T) {
	size := uint32(CtlRequestSize)
	for _, want := range []CtlRequest{{Size: size, Op: CtlRegion, Region: 0x01020304}, {Size: size, Op: CtlStats}, {Size: size, Op: CtlUnpin}} {
		out := stale(CtlRequestSize)
		EncodeCtlRequest(out, &want)
		if got, err := DecodeCtlRequest(out); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"empty":        {nil, ErrSize},
		"cut off":      {encoded(CtlRequest{Size: size, Op: CtlStats})[:15], ErrSize},
		"too long":     {append(encoded(CtlRequest{Size: size, Op: CtlStats}), 0), ErrSize},
		"size member":  {encoded(CtlRequest{Op: CtlStats}), ErrSize},
		"zero":         {encoded(CtlRequest{Size: size, Op: CtlRegion, Zero: 1}), ErrZero},
		"stats region": {encoded(CtlRequest{Size: size, Op: CtlStats, Region: 1}), ErrZero},
		"op 0":         {encoded(CtlRequest{Size: size}), ErrCommand},
		"unpin region": {encoded(CtlRequest{Size: size, Op: CtlUnpin, Region: 1}), ErrZero},
		"op 4":         {encoded(CtlRequest{Size: size, Op: 4}), ErrCommand},
	} {
		if r, err := DecodeCtlRequest(c.in); !errors.Is(err, c.want) || r != (CtlRequest{}) {
			t.Errorf("%s: %+v, %v, want %v", name, r, err, c.want)
		}
	}
}

func TestCtlReply(t *testing.T) {
	size := uint32(CtlReplySize)
	want := CtlReply{Size: size, Error: 13, Length: 1 << 30, FDOffset: 4096, Region: 5, Device: 6}
	out := append(stale(CtlReplySize), "tail"...)
	EncodeCtlReply(out, &want)
	got, rest, err := DecodeCtlReply(out)
	if err != nil || got != want || string(rest) != "tail" {
		t.Errorf("%+v, %q, %v", got, rest, err)
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"empty":          {nil, ErrSize},
		"cut off":        {encoded(want)[:31], ErrSize},
		"size member":    {encoded(CtlReply{}), ErrSize},
		"negative errno": {encoded(CtlReply{Size: size, Error: -1}), ErrRange},
		"huge errno":     {encoded(CtlReply{Size: size, Error: 4096}), ErrRange},
		"overflow":       {encoded(CtlReply{Size: size, FDOffset: 1, Length: math.MaxInt64}), ErrRange},
	} {
		if r, rest, err := DecodeCtlReply(c.in); !errors.Is(err, c.want) || r != (CtlReply{}) || rest != nil {
			t.Errorf("%s: %+v, %v, want %v", name, r, err, c.want)
		}
	}
}

func TestStrings(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"memfd", "memfd"}, {"1234567", "1234567"}, {"12345678", "1234567"},
		{"123456é", "123456"}, {"12345é", "12345é"}, {"a\x00b", "a"},
	} {
		dst := stale(8)
		PutCString(dst, c.in)
		if got := CString(dst); got != c.want || dst[7] != 0 {
			t.Errorf("%q came back as %q (% x)", c.in, got, dst)
		}
	}
	if got := CString([]byte("full")); got != "full" {
		t.Errorf("without a NUL: %q", got)
	}
}

func TestFetchAllocatesNothing(t *testing.T) {
	in := fetchInput(64, Fetch{Size: uint32(FetchSize), Length: 1 << 20})
	out := stale(FetchLen(64))
	allocs := testing.AllocsPerRun(100, func() {
		f, capacity, err := DecodeFetch(IocFetch(64), in)
		if err != nil {
			t.Fatal(err)
		}
		f.SegmentCount = uint32(capacity)
		EncodeFetch(out, &f)
		for i := range capacity {
			EncodeSegment(out, &f, i, Segment{Region: uint32(i), Length: 1 << 20})
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a FETCH", allocs)
	}
}

func BenchmarkFetch(b *testing.B) {
	in := fetchInput(16, Fetch{Size: uint32(FetchSize), Length: 1 << 20})
	out := stale(FetchLen(16))
	b.ReportAllocs()
	for b.Loop() {
		f, _, err := DecodeFetch(IocFetch(16), in)
		if err != nil {
			b.Fatal(err)
		}
		f.SegmentCount = 1
		EncodeFetch(out, &f)
		EncodeSegment(out, &f, 0, Segment{Region: 1, Length: 1 << 20})
	}
}
