package server

import (
	"fmt"
	"os"
	"testing"

	"hbmfs/transport"
)

// TestCrowdedIsTold: mounts hear that there will soon be no room for open files, before
// anyone is refused.
func TestCrowdedIsTold(t *testing.T) {
	const files = 20
	r := newRig(t)
	r.target.bounds.files.limit.All = files
	m, other := r.mount(), r.mount()
	var open []transport.FileRef
	for i := range files*3/4 + 1 {
		name := fmt.Sprint(i)
		r.write(name, uint64(i), 1, 8)
		if len(m.events) > 0 {
			t.Errorf("told with %d of %d files open", i, files)
		}
		opener := []*mount{m, other}[i%2] // neither may have all
		ref, _ := opener.open(name)
		open = append(open, ref)
	}
	for _, told := range []*mount{m, other} {
		if e := told.event(); !e.Crowded || e.Id != 0 {
			t.Errorf("told %v", e)
		}
	}
	m.close(open...)
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
