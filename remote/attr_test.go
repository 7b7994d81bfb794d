package remote

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// FuzzPage takes any bytes for a page of a directory: a name that it lets pass
// is one that this host's kernel takes for a name.
func FuzzPage(f *testing.F) {
	for _, page := range []*wire.ListPage{
		{},
		{Listings: []*wire.Listing{nil, {Entries: []*wire.Entry{nil}}}},
		{Listings: []*wire.Listing{{Entries: []*wire.Entry{{Name: []byte("a"), Attr: &wire.Attr{Size: 1 << 63, Version: make([]byte, 16)}}}}}},
		{Listings: []*wire.Listing{{Entries: []*wire.Entry{{Name: []byte("../up"), Attr: &wire.Attr{Version: make([]byte, 15)}}}}}},
		{Listings: []*wire.Listing{{Entries: []*wire.Entry{{Name: []byte("\xff"), Attr: &wire.Attr{Version: make([]byte, 16), Symlink: []byte("to")}}}}}},
		{Listings: []*wire.Listing{{Entries: []*wire.Entry{{Name: []byte("l"), Attr: &wire.Attr{Version: make([]byte, 16), Symlink: make([]byte, maxSymlink+1)}}}}}},
	} {
		b, err := proto.Marshal(page)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var page wire.ListPage
		if proto.Unmarshal(b, &page) != nil {
			return
		}
		for _, l := range page.Listings {
			for _, e := range l.Entries {
				checkEntry(t, e)
			}
		}
	})
}

func checkEntry(t *testing.T, e *wire.Entry) {
	got, err := newEntry(e)
	if err != nil {
		if !errors.Is(err, transport.ErrProtocol) {
			t.Error(err)
		}
		return
	}
	if got.Name == "" || got.Name == "." || got.Name == ".." || strings.ContainsAny(got.Name, "/\x00") || int64(got.Attr.Size) < 0 ||
		len(got.Attr.Symlink) > maxSymlink {
		t.Errorf("let pass: %+v", got)
	}
}

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
		s, err := newSession(&reply)
		if (s == nil) == (err == nil) || err != nil && !errors.Is(err, transport.ErrProtocol) {
			t.Errorf("%v, %v", s, err)
		}
	})
}

func TestFromStatus(t *testing.T) {
	detailed := func(errno syscall.Errno) error {
		st, err := status.New(codes.Unknown, "open: failed").WithDetails(&wire.Errno{Errno: uint32(errno), Op: "open"})
		if err != nil {
			t.Fatal(err)
		}
		return st.Err()
	}
	for _, c := range []struct{ err, want error }{
		{nil, nil},
		{os.ErrExist, os.ErrExist},
		{detailed(syscall.ENOENT), syscall.ENOENT},
		{detailed(syscall.ENOENT), os.ErrNotExist},
		{detailed(syscall.ESTALE), transport.ErrStale},
		{detailed(syscall.EBADF), transport.ErrUnknownFile},
		{detailed(0), transport.ErrProtocol},
		{status.Error(codes.Unavailable, ""), transport.ErrConnLost},
		{status.Error(codes.Unauthenticated, ""), transport.ErrSession},
		{status.Error(codes.FailedPrecondition, ""), ErrRefused},
		{status.Error(codes.Unimplemented, ""), transport.ErrProtocol},
	} {
		if got := fromStatus(c.err); !errors.Is(got, c.want) {
			t.Errorf("%v: %v, not %v", c.err, got, c.want)
		}
	}
}

func TestClasses(t *testing.T) {
	for n, want := range map[int]int{0: 4096, 1: 4096, 4096: 4096, 4097: 8192, 1<<20 - 1: 1 << 20, 1 << 20: 1 << 20} {
		b := newBuffer(n)
		if len(b.data) != want || len(b.Bytes()) != n {
			t.Errorf("%d bytes: %d of %d", n, len(b.Bytes()), len(b.data))
		}
		b.Release()
	}
}
