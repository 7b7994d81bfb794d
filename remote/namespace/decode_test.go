package namespace

import (
	"errors"
	"strings"
	"testing"

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
		{Listings: []*wire.Listing{{Entries: []*wire.Entry{{Name: []byte("t"), Attr: &wire.Attr{Version: make([]byte, 16), Mtime: 1 << 40, MtimeNsec: 1e9}}}}}},
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
	got, err := DecodeEntry(e)
	if err != nil {
		if !errors.Is(err, transport.ErrProtocol) {
			t.Error(err)
		}
		return
	}
	a := got.Attr
	if max(a.Atime.Nsec, a.Mtime.Nsec, a.Ctime.Nsec, a.Btime.Nsec) >= 1e9 {
		t.Errorf("let pass: %+v", a)
	}
	if got.Name == "" || got.Name == "." || got.Name == ".." || strings.ContainsAny(got.Name, "/\x00") || int64(got.Attr.Size) < 0 ||
		len(got.Attr.Symlink) > maxSymlink {
		t.Errorf("let pass: %+v", got)
	}
}
