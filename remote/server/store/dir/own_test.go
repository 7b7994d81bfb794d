package dir

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHide: a mount in an export that is the process's own is not there, whatever
// name leads to it. Others are.
func TestHide(t *testing.T) {
	if os.Geteuid() != 0 {
		unsupported(t, "only root mounts")
	}
	top := t.TempDir()
	for _, dir := range []string{"a/own", "a/other", "b"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"a/own", "a/other"} {
		place := filepath.Join(top, dir)
		if err := unix.Mount("none", place, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(place, unix.MNT_DETACH) })
		if err := os.MkdirAll(filepath.Join(place, "in", "deep"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(top, "a/own"), &st); err != nil {
		t.Fatal(err)
	}
	d := newRigOf(t, top).tree
	for _, hidden := range []bool{false, true} {
		if hidden {
			Hide(st.Dev)
			defer Hide(0)
		}
		for path, own := range map[string]bool{
			"a": false, "b": false, "a/other": false, "a/other/in": false, "a/other/in/deep": false,
			"a/own": true, "a/own/in": true, "a/own/in/deep": true,
		} {
			for _, open := range []func([]byte) (int, error){d.openPath, d.openDir} {
				fd, err := open([]byte(path))
				if want := hidden && own; (err == unix.ENOENT) != want || err != nil && !want {
					t.Errorf("open %s, hidden %t: %v", path, hidden, err)
				}
				if err == nil {
					unix.Close(fd)
				}
			}
		}
		checkNames(t, d, hidden)
	}
}

func checkNames(t *testing.T, d *tree, hidden bool) {
	t.Helper()
	fd, err := d.openDir([]byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	want := 2
	if hidden {
		want--
	}
	if entries, err := statAll(fd, []string{"own", "other"}); err != nil || len(entries) != want {
		t.Errorf("hidden %t: %v, %v, want %d", hidden, entries, err, want)
	}
}
