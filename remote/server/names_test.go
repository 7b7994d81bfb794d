package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hbmfs/remote/server/store/storetest"
	"hbmfs/remote/term"
	"hbmfs/remote/wire"
)

// namesRig is a target of a store that delegates names, with files in it.
func namesRig(t *testing.T, files ...string) (*rig, *storetest.Bucket) {
	t.Helper()
	b := storetest.NewBucket()
	for i, name := range files {
		if err := b.Put(name, content(uint64(i), 1, 8)); err != nil {
			t.Fatal(err)
		}
	}
	return newRigWith(t, Config{Exports: []Export{{"b", b}}}), b
}

// delegate opens a file of the bucket by a handle, and wants its name delegated.
func (m *mount) delegate(name string, handle uint64) *wire.StatReply {
	m.t.Helper()
	if _, err := m.call(m.t.Context(), opens("b", name, handle, 1)); err != nil {
		m.t.Fatal(err)
	}
	return m.wants(name, handle)
}

func (m *mount) wants(name string, handle uint64) *wire.StatReply {
	m.t.Helper()
	ask := stats("b", name)
	ask.GetStat().Delegate = handle
	a, err := m.call(m.t.Context(), ask)
	if err != nil {
		m.t.Fatal(err)
	}
	return a.GetStat()
}

// removes removes a file of the bucket.
func removes(t *testing.T, b *storetest.Bucket, name string) (done chan struct{}) {
	t.Helper()
	done = make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Remove(name); err != nil {
			t.Error(err)
		}
	}()
	return done
}

// TestDelegate: a mount that wanted to is told before a name leads elsewhere, and only
// while the file is open.
func TestDelegate(t *testing.T) {
	r, b := namesRig(t, "f", "g", "h")
	m := r.mount()
	for range 2 {
		if s := m.delegate("f", 1); !s.Delegated || s.Undelegated != "" || s.TermMs == 0 {
			t.Fatalf("%v", s)
		}
	}
	if n := r.target.bounds.names.Used(); n != 1 {
		t.Errorf("%d names are counted", n)
	}
	if s := m.wants("g", 1); s.Delegated || s.Undelegated != "" {
		t.Errorf("another file's: %v", s)
	}
	if s := m.wants("f", 7); s.Delegated || s.Undelegated == "" {
		t.Errorf("of no file: %v", s)
	}
	if s := m.wants("f", 1); !s.Delegated {
		t.Fatalf("%v", s)
	}
	r.goesOn(removes(t, b, "f"), "the mount has acknowledged")
	if e := m.event(); e.Id == 0 || e.Handle != 0 || len(e.Recalled) != 1 || e.Recalled[0] != 1 {
		t.Errorf("event %v", e)
	}
	m.delegate("g", 2)
	m.delegate("h", 3)
	if _, err := m.call(t.Context(), closes(2)); err != nil {
		t.Fatal(err)
	}
	r.goesOn(removes(t, b, "g"), "the file was closed")
	r.target.session([16]byte(m.id)).end("test")
	r.goesOn(removes(t, b, "h"), "the session ended")
	if n := r.target.bounds.names.Used(); n != 0 || len(m.events) > 0 {
		t.Errorf("%d names are counted, %d events came", n, len(m.events))
	}
}

// TestRecallWaits: whoever changes what a name leads to waits until the term of a mount
// that does not acknowledge has passed, and that has no further one.
func TestRecallWaits(t *testing.T) {
	r, b := namesRig(t, "f")
	m := r.session()
	m.attachIn(t.Context(), false)
	if s := m.delegate("f", 1); !s.Delegated {
		t.Fatalf("%v", s)
	}
	began := time.Now()
	r.goesOn(removes(t, b, "f"), "the term has passed")
	if took := time.Since(began); took < term.Length*8/10 {
		t.Errorf("it waited for %v only", took)
	}
}

// TestRecallsTogether: names that one change recalls share an event.
func TestRecallsTogether(t *testing.T) {
	o := newOutbox(term.Boot)
	var all []notice
	for handle := range uint64(10) {
		all = append(all, o.recall(handle+1))
	}
	other := o.post(7, "changed")
	last := o.recall(11)
	events := o.take()
	if len(events) != 3 || len(events[0].Recalled) != 10 || len(events[2].Recalled) != 1 {
		t.Fatalf("%v", events)
	}
	o.ack(events[0].Id)
	for _, n := range all {
		select {
		case <-n.acked:
		default:
			t.Error("it is not acknowledged")
		}
	}
	for _, n := range []notice{other, last} {
		select {
		case <-n.acked:
			t.Error("it is acknowledged")
		default:
		}
	}
	if n := o.recall(12); n.acked == all[0].acked {
		t.Error("it shares an event that was sent")
	}
}

// TestDelegateBounds: a client has half of the names that may be delegated.
func TestDelegateBounds(t *testing.T) {
	const most = 8
	var files []string
	for i := range most {
		files = append(files, fmt.Sprint(i))
	}
	r, _ := namesRig(t, files...)
	r.target.bounds.names.All = most
	m := r.mount()
	r.target.session([16]byte(m.id)).peer = "somebody"
	held := 0
	for i, name := range files {
		s := m.delegate(name, uint64(i+1))
		if s.Delegated {
			held++
		} else if s.Undelegated == "" {
			t.Errorf("%s: it is not said why", name)
		}
	}
	if held != most/2 {
		t.Errorf("%d names are delegated", held)
	}
}

// TestUndelegatedIsSaid: a mount knows from the start where no name can be delegated.
func TestUndelegatedIsSaid(t *testing.T) {
	r, _ := namesRig(t)
	reply, err := r.client.OpenSession(context.Background(), &wire.OpenSessionRequest{Protocol: wire.Protocol})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range reply.Datasets {
		if string(d.Name) == "b" && d.Undelegated != "" {
			t.Errorf("%s", d.Undelegated)
		}
	}
	file := newRigWith(t, Config{}, named{name: "file", path: writeFile(t)})
	if reply, err = file.client.OpenSession(context.Background(), &wire.OpenSessionRequest{Protocol: wire.Protocol, Datasets: [][]byte{[]byte("file")}}); err != nil {
		t.Fatal(err)
	}
	if reply.Datasets[0].Undelegated == "" {
		t.Error("names of a single file are delegated")
	}
}

func writeFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, content(1, 1, 8), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
