package loader

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSweepPlaces: what a killed process left goes, and what is in use, or has
// anything else in it, stays.
func TestSweepPlaces(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	names := WayNames(Ways)
	begin := func() (string, *os.File) {
		dir, lock, err := makePlaces()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, names[0]), 0o700); err != nil {
			t.Fatal(err)
		}
		return dir, lock
	}
	used, lock := begin()
	defer lock.Close()
	left, gone := begin()
	gone.Close()
	full, gone := begin()
	gone.Close()
	if err := os.WriteFile(filepath.Join(full, names[1]), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sweepPlaces(names)
	for path, stays := range map[string]bool{filepath.Join(used, names[0]): true, left: false, filepath.Join(full, names[1]): true} {
		if _, err := os.Lstat(path); (err == nil) != stays {
			t.Errorf("%s: %v", path, err)
		}
	}
}
