package remote

import (
	"testing"
	"time"

	"hbmfs/remote/closing"
	"hbmfs/remote/session"
	"hbmfs/remote/term"
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

// TestGivenUpIsNotNamed: a file that is given up by one while another has found it by its
// name is told nothing more, and a term that begins behind the recall says nothing of it.
func TestGivenUpIsNotNamed(t *testing.T) {
	c := newCaller(Config{Clock: term.Boot}.withDefaults())
	r := &Target{caller: c, files: newFileTable(c.sessions), closer: closing.NewCloser(nil)}
	s := &session.Session{Term: term.NewRenewer(term.Boot, nil)}
	if err := c.sessions.Install(s); err != nil {
		t.Fatal(err)
	}
	f := &File{t: r}
	f.refs.Store(1)
	r.files.add(f)
	f.session.Store(s)
	f.delegated(s, &wire.StatReply{Delegated: true, Attr: &wire.Attr{Version: make([]byte, len(f.attr.Version))}}, f.recalls())
	begin := func() { s.Term.Granted(time.Duration(r.Now()), uint32(term.Length.Milliseconds())) }
	if begin(); !f.isNamed(r.Now()) {
		t.Error("it is not delegated")
	}
	f.release()
	if r.files.find(s, f.handle) != nil {
		t.Error("it is told of a recall")
	}
	if begin(); f.isNamed(r.Now()) {
		t.Error("it is believed, and would not be told of a recall")
	}
}

// TestRefusedNameIsLeftAlone: a target that did not delegate a name is not asked to by each
// open of the file.
func TestRefusedNameIsLeftAlone(t *testing.T) {
	var now time.Duration
	r := &Target{caller: newCaller(Config{Clock: func() time.Duration { return now }}.withDefaults())}
	f := &File{t: r}
	if !f.wantsName(r.Now()) {
		t.Error("it is not asked for")
	}
	f.delegated(nil, &wire.StatReply{Undelegated: "no room"}, 0)
	if f.wantsName(r.Now()) {
		t.Error("it is asked for again at once")
	}
	if now += askAgain; !f.wantsName(r.Now()) {
		t.Error("it is not asked for again")
	}
}
