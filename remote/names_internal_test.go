package remote

import (
	"testing"

	"hbmfs/remote/session"
	"hbmfs/remote/wire"
)

// TestRecalledBefore: the event that recalls a name may overtake the answer that it is
// delegated, which comes by another way.
func TestRecalledBefore(t *testing.T) {
	var s, other session.Session
	f := new(File)
	f.session.Store(&s)
	said := &wire.StatReply{Delegated: true, Attr: &wire.Attr{Version: make([]byte, len(f.attr.Version))}}
	sent := f.recalls()
	f.delegated(&s, said, sent)
	if f.named.Load() != &s {
		t.Error("it is not delegated")
	}
	f.recall()
	if f.named.Load() != nil {
		t.Error("it is delegated, and was recalled")
	}
	f.delegated(&s, said, sent)
	if f.named.Load() != nil {
		t.Error("it was recalled after the question, and is delegated")
	}
	f.delegated(&other, said, f.recalls())
	if f.named.Load() != nil {
		t.Error("it is delegated in a session that it is not open in")
	}
	said.Attr.Version[0]++
	f.delegated(&s, said, f.recalls())
	if f.named.Load() != nil {
		t.Error("the name of another version is delegated")
	}
}
