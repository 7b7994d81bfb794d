package dir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// resolveTree has a directory a/b, a file in it, and links.
func resolveTree(t testing.TB) string {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	for _, err := range []error{
		err,
		os.MkdirAll(filepath.Join(dir, "a/b"), 0o755),
		os.WriteFile(filepath.Join(dir, "a/b/f"), nil, 0o644),
		os.Symlink("a/b", filepath.Join(dir, "relative")),
		os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "absolute")),
		os.Symlink("../..", filepath.Join(dir, "a/b/up")),
		os.Symlink("loop", filepath.Join(dir, "loop")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestResolve(t *testing.T) {
	dir := resolveTree(t)
	for path, want := range map[string]string{
		"a/b/f": "a/b/f", "a//./b/": "a/b", "relative/f": "a/b/f", "absolute/b": "a/b",
		"relative/..": "a", "relative/up/a": "a", "a/../a/b": "a/b",
	} {
		if got, err := resolve(dir+"/"+path, nil); err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s: %s, %v, want %s", path, got, err, want)
		}
	}
	for path, want := range map[string]error{"missing": unix.ENOENT, "loop": unix.ELOOP, "a/b/f/g": unix.ENOTDIR} {
		if got, err := resolve(dir+"/"+path, nil); !errors.Is(err, want) {
			t.Errorf("%s: %s, %v, want %v", path, got, err, want)
		}
	}
}

// TestResolveAllows: what is not allowed is not even looked at.
func TestResolveAllows(t *testing.T) {
	dir := resolveTree(t)
	refusal := errors.New("refused")
	for _, path := range []string{"a/b/missing", "relative/f", "absolute"} {
		_, err := resolve(dir+"/"+path, func(path string) error {
			if path == filepath.Join(dir, "a") {
				return refusal
			}
			return nil
		})
		if err != refusal {
			t.Errorf("%s: %v, want the refusal", path, err)
		}
	}
}

// FuzzResolve: the way to a place is another than the standard library's, and the
// place is the same.
func FuzzResolve(f *testing.F) {
	dir := resolveTree(f)
	for _, seed := range []string{"a/b/f", "relative/up/absolute", "a/../../..", "loop", "//", "a/b/f/..", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		want, wantErr := filepath.EvalSymlinks(dir + "/" + path)
		got, err := resolve(dir+"/"+path, nil)
		if wantErr == nil && (err != nil || got != want) {
			t.Errorf("%q: %s, %v, want %s", path, got, err, want)
		}
	})
}
