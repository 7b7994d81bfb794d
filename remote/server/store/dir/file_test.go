package dir

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// TestReadNow reads without waiting: the right bytes, or none.
func TestReadNow(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	o := r.openSettled("f")
	defer o.Close()
	b := make([]byte, fileSize)
	switch err := o.TryRead(0, b); {
	case errors.Is(err, transport.ErrWouldBlock):
		unsupported(t, "this file system can't say what is in memory")
	case err != nil:
		t.Fatal(err)
	}
	if err := transporttest.Check(b, tag(1, 1), 0); err != nil {
		t.Error(err)
	}
}

// TestOddFiles lists what is no file to read, and refuses to open it at once.
func TestOddFiles(t *testing.T) {
	r := newRig(t)
	if err := unix.Mkfifo(r.path("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(r.path("socket"), unix.S_IFSOCK|0o644, 0); err != nil {
		t.Fatal(err)
	}
	want := map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK}
	if unix.Mknod(r.path("null"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))) == nil {
		want["null"] = unix.S_IFCHR
	}
	listed, err := r.list("")
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range want {
		if listed[name].GetMode()&unix.S_IFMT != kind {
			t.Errorf("%s is listed as %#o", name, listed[name].GetMode())
		}
		if _, err := r.tryOpen(name); !errors.Is(err, unix.ENXIO) {
			t.Errorf("open of %s: %v", name, err)
		}
	}
}

func TestSingleFile(t *testing.T) {
	path := t.TempDir() + "/one"
	if err := os.WriteFile(path, content(3, 1, fileSize), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"-sibling", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRigOf(t, path)
	root, err := r.stat("")
	if err != nil || root.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("the root is %v, %v", root, err)
	}
	listed, err := r.list("")
	if err != nil || len(listed) != 1 || listed["one"].GetSize() != fileSize {
		t.Errorf("listed %v, %v", listed, err)
	}
	o := r.open("one")
	o.holds(t, 3, 1, fileSize)
	o.Close()
	for path, want := range map[string]error{"": store.ErrIsDir, "one-sibling": store.ErrNotExist, "one/x": store.ErrNotDir} {
		if _, err := r.tryOpen(path); !errors.Is(err, want) {
			t.Errorf("open %q: %v, not %v", path, err, want)
		}
	}
	if err := os.WriteFile(path+".next", content(3, 2, fileSize), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
	o = r.open("one")
	o.holds(t, 3, 2, fileSize)
	o.Close()
}
