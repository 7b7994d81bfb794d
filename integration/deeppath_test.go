package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// descend makes, or only enters, the directories of path below dir.
func descend(t *testing.T, dir, path string, create bool) *os.File {
	t.Helper()
	at := mustOpen(t, dir, os.O_RDONLY)
	for name := range strings.SplitSeq(path, "/") {
		if create {
			must(t, unix.Mkdirat(int(at.Fd()), name, 0o755))
		}
		fd, err := unix.Openat(int(at.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, errors.Join(err, at.Close()))
		at = os.NewFile(uintptr(fd), name)
	}
	t.Cleanup(func() { at.Close() })
	return at
}

// TestDeepPath: a tree deeper than the kernel's paths reach can be walked, and
// read and fetched at its end, by openat and fchdir as on any file system.
func TestDeepPath(t *testing.T) {
	src := t.TempDir()
	paths := map[string]string{ // by a name of its own, so that one tree holds all
		"w": "w" + strings.Repeat("/"+strings.Repeat("d", 200), 30),
		"n": "n" + strings.Repeat("/dd", 1500),
	}
	for _, path := range paths {
		at := descend(t, src, path, true)
		must(t, os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/leaf", at.Fd()), tagged(1, 1, 0, 100_000), 0o644))
	}
	for via, source := range sources(t, src) {
		m := startMount(t, source)
		count := func(dir string) string {
			cmd := exec.Command("sh", "-c", "find . | wc -l")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			must(t, err)
			return string(out)
		}
		if want, got := count(src), count(m.dir); got != want {
			t.Errorf("%s: find sees %q, want %q", via, got, want)
		}
		for _, path := range paths {
			leaf := fmt.Sprintf("/proc/self/fd/%d/leaf", descend(t, m.dir, path, false).Fd())
			checkTagged(t, mustRead(t, leaf), 1, 1, 0)
			checkTagged(t, fetchAll(t, leaf, 0, 100_000), 1, 1, 0)
		}
	}
}
