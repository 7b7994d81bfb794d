package integration

import (
	"os"
	"path/filepath"
	"testing"
)

// TestUpBehindLink: ".." behind a symbolic link is where the link leads to, for the
// commands as for the kernel.
func TestUpBehindLink(t *testing.T) {
	base := t.TempDir()
	sub, src, dir, link := filepath.Join(base, "a/sub"), filepath.Join(base, "a/src"), filepath.Join(base, "a/mnt"), filepath.Join(base, "link")
	for _, d := range []string{sub, src, dir} {
		must(t, os.MkdirAll(d, 0o755))
	}
	must(t, os.Symlink(sub, link))
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 4096)
	t.Cleanup(func() { removeLogs(t) })
	for _, args := range [][]string{
		{"mount", link + "/../src", link + "/../mnt"}, {"stat", link + "/../mnt"}, {"stat", dir + "/../mnt/f"}, {"read", link + "/../mnt/f"}, {"umount", link + "/../mnt"},
	} {
		if out, code := hbmfs(t, args...); code != 0 {
			t.Errorf("hbmfs %v: status %d: %s", args, code, out)
		}
	}
	checkGone(t, dir)
}
