package dir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// held are changes that wait for whoever believes the name a/b/f. Another name of the
// file is out/l, beside the tree, and out/next is another file.
var held = map[string]func(in, out string) error{
	"open for writing": func(in, _ string) error {
		w, err := os.OpenFile(in+"/a/b/f", os.O_WRONLY, 0)
		return errors.Join(err, w.Close())
	},
	"truncate":           func(in, _ string) error { return os.Truncate(in+"/a/b/f", 1) },
	"chmod":              func(in, _ string) error { return os.Chmod(in+"/a/b/f", 0o600) },
	"chmod by a link":    func(_, out string) error { return os.Chmod(out+"/l", 0o600) },
	"chown":              func(in, _ string) error { return os.Chown(in+"/a/b/f", 7, 7) },
	"utimes":             func(in, _ string) error { return os.Chtimes(in+"/a/b/f", time.Now(), time.Now()) },
	"link out":           func(in, out string) error { return os.Link(in+"/a/b/f", out+"/m") },
	"unlink a link":      func(_, out string) error { return os.Remove(out + "/l") },
	"rename a link":      func(_, out string) error { return os.Rename(out+"/l", out+"/m") },
	"unlink":             func(in, _ string) error { return os.Remove(in + "/a/b/f") },
	"rename":             func(in, _ string) error { return os.Rename(in+"/a/b/f", in+"/a/b/g") },
	"rename out":         func(in, out string) error { return os.Rename(in+"/a/b/f", out+"/g") },
	"rename over":        func(in, out string) error { return os.Rename(out+"/next", in+"/a/b/f") },
	"exchange":           func(in, out string) error { return exchange(out+"/next", in+"/a/b/f") },
	"create":             func(in, _ string) error { return os.WriteFile(in+"/a/b/new", nil, 0o600) },
	"mkdir in the root":  func(in, _ string) error { return os.Mkdir(in+"/new", 0o755) },
	"chmod a directory":  func(in, _ string) error { return os.Chmod(in+"/a/b", 0o700) },
	"rename a directory": func(in, _ string) error { return os.Rename(in+"/a/b", in+"/a/c") },
	"rename its parent":  func(in, _ string) error { return os.Rename(in+"/a", in+"/c") },
	"exchange a parent":  func(in, out string) error { return exchange(in+"/a", out+"/dir") },
}

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// kernelNames is a namesRig on this kernel, beneath a directory of changes' own.
func kernelNames(t *testing.T) (r *namesRig, out string) {
	t.Helper()
	base := t.TempDir()
	in, out := filepath.Join(base, "in"), filepath.Join(base, "out")
	for _, dir := range []string{in, out + "/dir"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r = &namesRig{rig: newRigOf(t, in)}
	r.names = r.files.names
	if why := r.tree.Undelegated(); why != "" {
		unsupported(t, why)
	}
	if err := os.WriteFile(out+"/next", content(2, 1, 8), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(in+"/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("a/b/f", 1, 1, 8)
	if err := os.Link(in+"/a/b/f", out+"/l"); err != nil {
		t.Fatal(err)
	}
	r.make("h")
	return r, out
}

// TestDelegationHolds: each change of what a name leads to, or of the attributes there,
// waits until it is believed no more.
func TestDelegationHolds(t *testing.T) {
	for what, change := range held {
		t.Run(what, func(t *testing.T) {
			r, out := kernelNames(t)
			o := r.openSettled("a/b/f") // its lease is not in the way, nor taken for the delegation
			defer o.Close()
			b := r.believe("a/b/f")
			defer b.Close()
			changed := make(chan error, 1)
			go func() { changed <- change(r.dir, out) }()
			until(t, b.isTold)
			select {
			case err := <-changed:
				t.Errorf("it did not wait: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			close(b.free)
			if err := <-changed; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDelegationLeavesAlone: what has nothing to do with a name does not wait for who
// believes it.
func TestDelegationLeavesAlone(t *testing.T) {
	r, out := kernelNames(t)
	b := r.believe("a/b/f")
	defer b.Close()
	r.believe("h").Close()
	for _, err := range []error{
		os.WriteFile(r.path("h"), content(3, 2, 8), 0o644), os.Chmod(r.path("h"), 0o600),
		os.WriteFile(out+"/new", nil, 0o644), os.Chmod(out+"/dir", 0o700),
	} {
		if err != nil || b.isTold() {
			t.Errorf("told %t, %v", b.isTold(), err)
		}
	}
	if _, err := os.ReadFile(r.path("a/b/f")); err != nil || b.isTold() {
		t.Errorf("read: told %t, %v", b.isTold(), err)
	}
}

// TestDelegationTruncate: open(O_RDONLY|O_TRUNC), which breaks no lease, fails while a
// name is delegated, and does not truncate.
func TestDelegationTruncate(t *testing.T) {
	r, _ := kernelNames(t)
	b := r.believe("a/b/f")
	defer b.Close()
	fd, err := unix.Open(r.path("a/b/f"), unix.O_RDONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	if err != unix.EAGAIN {
		unix.Close(fd)
		t.Errorf("it was opened: %v", err)
	}
	until(t, b.isTold)
	if st, err := os.Stat(r.path("a/b/f")); err != nil || st.Size() != 8 {
		t.Errorf("%v, %v", st, err)
	}
	close(b.free)
}
