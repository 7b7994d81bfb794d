package server

import (
	"fmt"
	"os"
	"testing"
	"time"

	"hbmfs/transport"
)

// TestRoomIsMade: who is refused an open file has mounts close what they only keep, and
// gets it then; where they have nothing to close, he is refused soon.
func TestRoomIsMade(t *testing.T) {
	const files = 4
	r := newRig(t)
	r.target.bounds.files.limit.All = files
	m, other := r.mount(), r.mount()
	var kept []transport.FileRef
	for i := range files + 1 {
		name := fmt.Sprint(i)
		r.write(name, uint64(i), 1, 8)
		if i < files {
			ref, _ := m.open(name)
			kept = append(kept, ref)
		}
	}
	yields := make(chan struct{})
	go func() {
		defer close(yields)
		if e := m.event(); !e.Crowded || e.Id != 0 {
			t.Errorf("told %v", e)
		}
		m.close(kept...)
	}()
	ref, _ := other.open(fmt.Sprint(files))
	<-yields
	other.close(ref)

	for i := range files {
		m.open(fmt.Sprint(i))
	}
	began := time.Now()
	for range 10 {
		if _, _, err := other.tryOpen("d", fmt.Sprint(files), nil); err == nil {
			t.Error("it was opened, with all open")
		}
	}
	t.Logf("refused 10 times in %v", time.Since(began))
	if n := len(m.events) + len(other.events); n > 4 {
		t.Errorf("told %d times", n)
	}
}

// TestUnlinkedIsTold: once, of each file that no name leads to any more.
func TestUnlinkedIsTold(t *testing.T) {
	r := newRig(t)
	m := r.mount()
	for i, name := range []string{"gone", "linked", "there"} {
		r.write(name, uint64(i), 1, 8)
	}
	gone, _ := m.open("gone")
	m.open("linked")
	m.open("there")
	if err := os.Link(r.path("linked"), r.path("other")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gone", "linked"} {
		if err := os.Remove(r.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		r.target.tellUnlinked()
	}
	if e := m.event(); e.Unlinked != gone.Handle || e.Id != 0 || e.Handle != 0 {
		t.Errorf("told %v", e)
	}
	if n := len(m.events); n > 0 {
		t.Errorf("told %d times more", n)
	}
	m.holds(gone, 0, 1, 8)
}
