package namespace

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

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
		s, err := DecodeSpans(&reply, off, size)
		if err != nil {
			if !errors.Is(err, transport.ErrProtocol) {
				t.Error(err)
			}
			return
		}
		if s.End <= off || s.End > size || len(s.Data)%2 != 0 || !slices.IsSorted(s.Data) ||
			len(s.Data) > 0 && (s.Data[0] < off || s.Data[len(s.Data)-1] > uint64(s.End)) {
			t.Errorf("let pass: %+v", s)
		}
	})
}
