package session

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// FuzzSession takes any bytes for the reply that starts a session.
func FuzzSession(f *testing.F) {
	good := &wire.OpenSessionReply{Session: make([]byte, 16), Secret: make([]byte, 32), Datasets: []*wire.Dataset{{Name: []byte("d")}}}
	for _, reply := range []*wire.OpenSessionReply{good, {}, {Session: make([]byte, 15)}} {
		b, err := proto.Marshal(reply)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var reply wire.OpenSessionReply
		if proto.Unmarshal(b, &reply) != nil {
			return
		}
		s, err := New(&reply, nil)
		if (s == nil) == (err == nil) || err != nil && !errors.Is(err, transport.ErrProtocol) {
			t.Errorf("%v, %v", s, err)
		}
	})
}
