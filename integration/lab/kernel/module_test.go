package kernel

import (
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRelocate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Makefile")
	write(t, file, "include /usr/src/linux-headers-6.12.95+deb12-common/Makefile\n")
	if err := relocate(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if want := "include ../linux-headers-6.12.95+deb12-common/Makefile\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
}

// TestHashFiles: sources, their names and the kernel make a module what it is;
// what a build left there does not.
func TestHashFiles(t *testing.T) {
	dir := t.TempDir()
	hash := func(version string) string {
		t.Helper()
		sum, err := hashFiles(dir, version)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	write(t, filepath.Join(dir, "a.c"), "int a;")
	first := hash("1")
	for _, name := range []string{"a.o", "a.mod.c", "README.md"} {
		write(t, filepath.Join(dir, name), "made")
	}
	if err := os.Mkdir(filepath.Join(dir, ".tmp_versions"), 0o755); err != nil {
		t.Fatal(err)
	}
	if hash("1") != first {
		t.Error("another hash for what a build left")
	}
	seen := map[string]bool{first: true, hash("2"): true}
	write(t, filepath.Join(dir, "a.c"), "int b;")
	seen[hash("1")] = true
	write(t, filepath.Join(dir, "Kbuild"), "")
	seen[hash("1")] = true
	if len(seen) != 4 {
		t.Errorf("%d hashes for 4 modules", len(seen))
	}
}
