package beside

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestRemoveLeftover: what a daemon left goes, and nothing else.
func TestRemoveLeftover(t *testing.T) {
	const dev = "0:44"
	tmp, uid := t.TempDir(), uint32(os.Geteuid())
	t.Setenv("TMPDIR", tmp)
	live, err := Make(dev, 0o711)
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(tmp, prefix(dev, int(uid)))
	left, full, link, other := mine+"left", mine+"full", mine+"link", filepath.Join(tmp, prefix("0:4", int(uid))+"left")
	for _, dir := range []string{left, full, other} {
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, Socket), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(full, "mine"), nil, 0o600), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	if err := RemoveLeftover(dev, uid+1); err != nil {
		t.Error(err)
	}
	if err := RemoveLeftover(dev, uid); err == nil {
		t.Error("no error for a directory that has more in it")
	}
	for path, stays := range map[string]bool{
		live.Path: true, left: false, filepath.Join(full, "mine"): true, link: true, filepath.Join(other, Socket): true,
	} {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) == stays {
			t.Errorf("%s: %v; should stay: %t", path, err, stays)
		}
	}
	if err := live.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(live.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after remove: %v", err)
	}
}
