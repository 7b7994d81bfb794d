package store

import (
	"bytes"
	"path"
	"strings"
	"testing"
)

// FuzzCheckPath: what is good is below the root, and is the one way to say so.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"", "a", "a/b", "..", "a/../b", "/a", "a//b", "a/", "a\x00b", "\xff", ".", strings.Repeat("n", MaxName+1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if CheckPath(p) != nil || len(p) == 0 {
			return
		}
		clean := path.Clean("/" + string(p))
		if clean != "/"+string(p) || bytes.IndexByte(p, 0) >= 0 || len(p) > MaxPath {
			t.Errorf("%q is taken for %q", p, clean)
		}
	})
}
