package uapi

import (
	"bytes"
	"errors"
	"testing"
)

// sized is cmd with another size.
func sized(cmd uint32, size int) uint32 { return cmd&^(iocSizeMax<<16) | uint32(size)<<16 }

// encodedLike is the input of cmd that starts with v, cut to it or with zeros
// behind.
func encodedLike[T layout](cmd uint32, v T) []byte {
	out := stale(IocSize(cmd))
	encode(out, &v)
	return out
}

// TestStructGrowth: callers that are compiled with structures of other sizes.
func TestStructGrowth(t *testing.T) {
	info := func(size int) []byte { return encodedLike(sized(IocInfo, size), Info{Size: uint32(size)}) }
	release := func(size int) []byte {
		return encodedLike(sized(IocRelease, size), Release{Size: uint32(size), Handle: 7})
	}
	digest := func(size int) []byte {
		return encodedLike(sized(IocDigest, size), Digest{Size: uint32(size), Length: 7})
	}
	set := func(in []byte, i int) []byte { in[i] = 1; return in }
	decodeRelease := func(cmd uint32, in []byte) error {
		r, err := DecodeRelease(cmd, in)
		if err == nil && (r.Handle != 7 || int(r.Size) != len(in)) {
			t.Errorf("%d bytes: %+v", len(in), r)
		}
		return err
	}
	decodeDigest := func(cmd uint32, in []byte) error {
		d, err := DecodeDigest(cmd, in)
		if err == nil && (d.Length != 7 || int(d.Size) != len(in)) {
			t.Errorf("%d bytes: %+v", len(in), d)
		}
		return err
	}
	for _, c := range []struct {
		name   string
		decode func(uint32, []byte) error
		cmd    uint32
		in     []byte
		want   error
	}{
		{"info: no tables", DecodeInfo, IocInfo, info(MinInfoSize), nil},
		{"info: half a table", DecodeInfo, IocInfo, info(MinInfoSize + 9), nil},
		{"info: less than its head", DecodeInfo, IocInfo, info(MinInfoSize - 1), ErrSize},
		{"info: newer", DecodeInfo, IocInfo, info(InfoSize + 8), nil},
		{"info: the longest", DecodeInfo, IocInfo, info(iocSizeMax), nil},
		{"info: newer, and uses it", DecodeInfo, IocInfo, set(info(InfoSize+8), InfoSize), ErrTooBig},
		{"info: newer, and uses its end", DecodeInfo, IocInfo, set(info(InfoSize+8), InfoSize+7), ErrTooBig},
		{"info: flags of a short one", DecodeInfo, IocInfo, set(info(MinInfoSize), 4), ErrFlags},
		{"release: newer", decodeRelease, IocRelease, release(ReleaseSize + 8), nil},
		{"release: newer, and uses it", decodeRelease, IocRelease, set(release(ReleaseSize+8), ReleaseSize), ErrTooBig},
		{"release: shorter", decodeRelease, IocRelease, release(MinReleaseSize - 8), ErrSize},
		{"digest: newer", decodeDigest, IocDigest, digest(DigestSize + 8), nil},
		{"digest: newer, and uses it", decodeDigest, IocDigest, set(digest(DigestSize+8), DigestSize), ErrTooBig},
		{"digest: shorter", decodeDigest, IocDigest, digest(MinDigestSize - 8), ErrSize},
	} {
		if err := c.decode(sized(c.cmd, len(c.in)), c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestFetchGrowth(t *testing.T) {
	const newer = FetchSize + 16
	fetch := func(size, total int) (uint32, []byte) {
		cmd := sized(IocFetch(0), total)
		return cmd, encodedLike(cmd, Fetch{Size: uint32(size), Length: 7})
	}
	for _, c := range []struct {
		name        string
		size, total int
		room        int
		want        error
	}{
		{"ours", FetchSize, FetchLen(3), 3, nil},
		{"newer", newer, newer + 3*SegmentSize, 3, nil},
		{"newer by a segment", FetchLen(1), FetchLen(3), 2, nil},
		{"newer, no room for a segment", newer, newer, 0, ErrSize},
		{"newer, room for half a segment", newer, FetchLen(3), 0, ErrSize},
		{"longer than the command says", newer, newer - 8, 0, ErrSize},
		{"shorter", MinFetchSize - 8, MinFetchSize - 8 + SegmentSize, 0, ErrSize},
	} {
		cmd, in := fetch(c.size, c.total)
		f, room, err := DecodeFetch(cmd, in)
		if !errors.Is(err, c.want) || room != c.room || err == nil && (f.Length != 7 || int(f.Size) != c.size) {
			t.Errorf("%s: %+v, %d, %v", c.name, f, room, err)
		}
	}
	cmd, in := fetch(newer, newer+SegmentSize)
	in[newer-1] = 1
	if _, _, err := DecodeFetch(cmd, in); !errors.Is(err, ErrTooBig) {
		t.Errorf("a member set that is not known: %v", err)
	}
	in[newer-1], in[newer] = 0, 1
	if _, _, err := DecodeFetch(cmd, in); err != nil {
		t.Errorf("a segment that holds something: %v", err)
	}
}

// TestReplyGrowth: an answer has the caller's size: cut, or with zeros behind
// what this ABI knows, and the segments behind that.
func TestReplyGrowth(t *testing.T) {
	const newer = FetchSize + 16
	head, segment := Fetch{Size: uint32(newer), Handle: 5, SegmentCount: 1, Why: 6}, Segment{Region: 9, Length: 1, Flags: SegmentHit}
	out := stale(newer + 2*SegmentSize)
	EncodeSegment(out, &head, 0, segment)
	EncodeFetch(out, &head)
	want := append(encoded(head), make([]byte, newer-FetchSize)...)
	want = append(append(want, encoded(segment)...), make([]byte, SegmentSize)...)
	if !bytes.Equal(out, want) {
		t.Errorf("FETCH answers % x\nwant % x", out, want)
	}
	info := Info{ABIVersion: 1, DeviceCount: 1, TransportCount: 1}
	info.Devices[0].ID, info.Transports[MaxTransports-1].Path = 3, 4
	for _, size := range []int{MinInfoSize, MinInfoSize + 9, InfoSize, InfoSize + 8} {
		out := stale(size)
		info.Size = uint32(size)
		EncodeInfo(out, &info)
		known := min(size, InfoSize)
		if !bytes.Equal(out[:known], encoded(info)[:known]) || !allZero(out[known:]) {
			t.Errorf("INFO of %d bytes answers % x", size, out)
		}
	}
}
