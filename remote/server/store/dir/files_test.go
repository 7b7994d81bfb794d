package dir

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestChangedFileIsOpenedAnew has a read notice a change before the watch does.
func TestChangedFileIsOpenedAnew(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	old := r.openSettled("f")
	old.Object.(*object).stale.Store(true)
	fresh := r.openSettled("f")
	fresh.holds(t, 1, 1, fileSize)
	old.Close()
	fresh.Close()
}

// TestFileBudget opens all the files that a process may.
func TestFileBudget(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.write("f"+itoa(i), uint64(i), 1, fileSize)
	}
	r.files.budget = 2
	first, second := r.openSettled("f0"), r.openSettled("f1")
	if _, err := r.tryOpen("f2"); !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("one file more: %v", err)
	}
	if _, err := r.stat("f2"); err != nil {
		t.Errorf("stat: %v", err)
	}
	shared := r.openSettled("f1")
	shared.holds(t, 1, 1, fileSize)
	first.Close()
	r.openSettled("f2").Close()
	second.Close()
	shared.Close()
}

// TestSharedDescriptor opens one version twice: one descriptor and one lease serve
// both.
func TestSharedDescriptor(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	a, b := r.openSettled("f"), r.openSettled("f")
	if a.Object.(*object).file != b.Object.(*object).file {
		t.Error("two descriptors for one version")
	}
	a.Close()
	b.holds(t, 1, 1, fileSize)
	b.Close()
	if n := len(r.files.shared); n != 0 {
		t.Errorf("%d files are open after the last close", n)
	}
	openForWriting(t, r.path("f")).Close()
	if len(a.told) > 0 || len(b.told) > 0 {
		t.Error("a holder is told about a closed file")
	}
}
