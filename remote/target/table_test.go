package target

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestChangedFileIsOpenedAnew has a read notice a change before the watch does.
func TestChangedFileIsOpenedAnew(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	m := r.mount()
	old := m.openSettled("f")
	f, err := m.source.(*session).file(old)
	if err != nil {
		t.Fatal(err)
	}
	f.stale.Store(true)
	m.holds(m.openSettled("f"), 1, 1, fileSize)
	r.target.files.release(f)
}

// TestFileBudget has one session open all the files that the target may.
func TestFileBudget(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.write("f"+itoa(i), uint64(i), 1, fileSize)
	}
	r.target.files.budget = 2
	m, other := r.mount(), r.mount()
	first := m.openSettled("f0")
	m.openSettled("f1")
	_, err := other.tryOpen("d", "f2", nil)
	if errno(err) != uint32(unix.EMFILE) || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("one file more: %v", err)
	}
	if _, err := other.stat("d", "f2"); err != nil {
		t.Errorf("stat: %v", err)
	}
	shared := other.openSettled("f1")
	other.holds(shared, 1, 1, fileSize)
	m.close(first)
	other.openSettled("f2")
}

// TestSharedDescriptor has two sessions open one version: one descriptor and one
// lease serve both.
func TestSharedDescriptor(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	a, b := r.mount(), r.mount()
	ra, rb := a.openSettled("f"), b.openSettled("f")
	fa, err := a.source.(*session).file(ra)
	if err != nil {
		t.Fatal(err)
	}
	fb, err := b.source.(*session).file(rb)
	if err != nil {
		t.Fatal(err)
	}
	if fa != fb {
		t.Error("two descriptors for one version")
	}
	fa.table.release(fa)
	fb.table.release(fb)
	a.close(ra)
	b.holds(rb, 1, 1, fileSize)
	b.close(rb)
	if n := len(r.target.files.shared); n != 0 {
		t.Errorf("%d files are open after the last close", n)
	}
	if w := openForWriting(t, r.path("f")); len(b.events) > 0 {
		t.Error("an event about a closed file")
	} else {
		w.Close()
	}
}
