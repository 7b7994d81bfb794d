package kernel

import (
	"os"
	"path/filepath"
	"slices"
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
		files, err := readSources(dir)
		if err != nil {
			t.Fatal(err)
		}
		return hashFiles(files, version)
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

func TestMakeModule(t *testing.T) {
	here := makeModule(Kernel{Headers: "/cache/kernel/usr/src/h"}, "/cache/modules/build-1")
	if want := []string{"make", "-s", "-C", "/cache/kernel/usr/src/h", "M=/cache/modules/build-1"}; !slices.Equal(here[:5], want) {
		t.Errorf("%q", here)
	}
	there := makeModule(Kernel{Headers: "/cache/kernel-7.3/usr/src/h", Root: "/cache/kernel-7.3"}, "/cache/kernel-7.3/build-1")
	if n := len(there); there[0] != "unshare" || there[n-3] != "M=/build-1" || there[n-4] != "/usr/src/h" {
		t.Errorf("%q", there)
	}
}
