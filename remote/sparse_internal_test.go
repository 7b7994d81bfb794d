package remote

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"hbmfs/remote/namespace"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// TestSeek compares with a map of every byte.
func TestSeek(t *testing.T) {
	const size = 12
	for _, data := range [][]uint64{nil, {0, 12}, {0, 1}, {11, 12}, {3, 5, 5, 6, 8, 11}, {0, 4, 9, 12}} {
		isData := func(off int64) bool {
			for i := 0; i < len(data); i += 2 {
				if off >= int64(data[i]) && off < int64(data[i+1]) {
					return true
				}
			}
			return false
		}
		f := &File{attr: namespace.Attr{Size: size}}
		f.spans.Store(&spans{end: size, data: data})
		for off := int64(-1); off <= size; off++ {
			next := func(is func(int64) bool) int64 {
				at := off
				for at >= 0 && at < size && !is(at) {
					at++
				}
				return at
			}
			at, err := f.SeekData(t.Context(), off)
			if want := next(isData); off < 0 || want == size {
				if !errors.Is(err, syscall.ENXIO) {
					t.Errorf("%v: data from %d: %d, %v, want ENXIO", data, off, at, err)
				}
			} else if at != want || err != nil {
				t.Errorf("%v: data from %d: %d, %v, want %d", data, off, at, err, want)
			}
			at, err = f.SeekHole(t.Context(), off)
			if want := next(func(at int64) bool { return !isData(at) }); off < 0 || off == size {
				if !errors.Is(err, syscall.ENXIO) {
					t.Errorf("%v: hole from %d: %d, %v, want ENXIO", data, off, at, err)
				}
			} else if at != want || err != nil {
				t.Errorf("%v: hole from %d: %d, %v, want %d", data, off, at, err, want)
			}
		}
	}
}

// TestSeekFullFile: a file without holes asks nobody.
func TestSeekFullFile(t *testing.T) {
	f := &File{attr: namespace.Attr{Size: 4097, Blocks: 9}}
	if at, err := f.SeekData(t.Context(), 7); at != 7 || err != nil {
		t.Errorf("data: %d, %v", at, err)
	}
	if at, err := f.SeekHole(t.Context(), 7); at != 4097 || err != nil {
		t.Errorf("hole: %d, %v", at, err)
	}
}

// FuzzSpans takes any bytes for a reply about a file's spans.
func FuzzSpans(f *testing.F) {
	for _, r := range []*wire.SpansReply{
		{}, {End: 100}, {End: 101}, {Data: []uint64{20, 30}, End: 50}, {Data: []uint64{20, 20}, End: 50}, {Data: []uint64{20}, End: 50},
		{Data: []uint64{20, 60}, End: 50}, {Data: []uint64{5, 60}, End: 100}, {Data: []uint64{20, 1 << 63}, End: 1 << 63},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var reply wire.SpansReply
		if proto.Unmarshal(b, &reply) != nil {
			return
		}
		const off, size = 10, 100
		s, err := newSpans(&reply, off, size)
		if err != nil {
			if !errors.Is(err, transport.ErrProtocol) {
				t.Error(err)
			}
			return
		}
		if s.end <= off || s.end > size || len(s.data)%2 != 0 || !slices.IsSorted(s.data) ||
			len(s.data) > 0 && (s.data[0] < off || s.data[len(s.data)-1] > uint64(s.end)) {
			t.Errorf("let pass: %+v", s)
		}
	})
}
