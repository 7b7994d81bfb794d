package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hbmfs/fs/client"
)

// isAnError waits until the mount at dir is an error, and never an empty directory.
func isAnError(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "an error", func() error {
		entries, err := os.ReadDir(dir)
		switch {
		case errors.Is(err, syscall.ESTALE):
			return nil
		case err == nil && len(entries) == 0:
			t.Fatal("the mount is an empty directory")
		}
		return fmt.Errorf("%v, %v", entries, err)
	})
	if _, err := os.ReadFile(filepath.Join(dir, "x")); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("a file of a tree that is gone: %v, want ESTALE", err)
	}
}

// TestExportGone: a root that is deleted or unmounted is an error until it is
// back. Other datasets of the target go on.
func TestExportGone(t *testing.T) {
	dir := t.TempDir()
	live, other := filepath.Join(dir, "live"), filepath.Join(dir, "other")
	publish(t, live, 1)
	publish(t, other, 1)
	target, addr := startTarget(t, "127.0.0.1:0", "live="+live, "other="+other)
	m, all := startMount(t, addr+"/live"), startMount(t, addr)
	local := startMount(t, live)
	old := holdOpen(t, m.dir, 1)
	kept := holdOpen(t, all.path("other"), 1)
	shows(t, local.dir, 1)

	must(t, os.RemoveAll(live))
	for _, root := range []string{m.dir, all.path("live"), local.dir} {
		isAnError(t, root)
	}
	logs := map[string]*process{"target": target, "mount": m.process, "mount of all": all.process, "local mount": local.process}
	eachSays(t, logs, "gone")
	old.isStale()
	checkTagged(t, pin(t, kept.file, 4096, 4096, client.FetchOptions{}).data, 1, 1, 4096)
	shows(t, all.path("other"), 1)
	m.stats() // the way to the control socket is open
	if out, err := exec.Command(bin, "mount", addr+"/live", t.TempDir()).CombinedOutput(); err == nil || !strings.Contains(string(out), "no such file") {
		t.Errorf("a mount of what is gone: %v: %s", err, out)
	}

	publish(t, live+".new", 2)
	must(t, os.Rename(live+".new", live))
	for _, root := range []string{m.dir, all.path("live"), local.dir} {
		shows(t, root, 2)
	}
	eachSays(t, logs, "back")
}

func eachSays(t *testing.T, logs map[string]*process, word string) {
	t.Helper()
	for what, p := range logs {
		eventually(t, "the log of the "+what, func() error {
			if !strings.Contains(p.output(), word) {
				return fmt.Errorf("it does not say %q", word)
			}
			return nil
		})
	}
}

// TestExportUnmounted: a file system at the export's path comes and goes.
func TestExportUnmounted(t *testing.T) {
	if os.Geteuid() != 0 {
		unsupported(t, "needs root")
	}
	live := filepath.Join(t.TempDir(), "live")
	must(t, os.Mkdir(live, 0o755))
	mountTmpfs(t, live)
	publish(t, live, 1)
	for from, source := range sources(t, live) {
		t.Run(from, func(inner *testing.T) {
			m := startMount(inner, source)
			version := versionOf(inner, m.path("x"))
			old := holdOpen(inner, m.dir, version)
			must(inner, syscall.Unmount(live, syscall.MNT_DETACH))
			isAnError(inner, m.dir)
			old.isStale()
			mountTmpfs(t, live)
			publish(inner, live, version+1)
			shows(inner, m.dir, version+1)
		})
	}
}

func mountTmpfs(t *testing.T, at string) {
	t.Helper()
	must(t, syscall.Mount("tmpfs", at, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) })
}

// TestLinkIntoOwnMount: the daemon of a local mount does not follow its source
// into itself.
func TestLinkIntoOwnMount(t *testing.T) {
	dir := t.TempDir()
	publish(t, filepath.Join(dir, "v1"), 1)
	live := filepath.Join(dir, "live")
	must(t, os.Symlink("v1", live))
	m := startMount(t, live)
	point := func(to string) {
		must(t, os.Symlink(to, live+".new"))
		must(t, os.Rename(live+".new", live))
	}
	point(m.path("sub"))
	isAnError(t, m.dir)
	eachSays(t, map[string]*process{"mount": m.process}, "lies under the mount point")
	point("v1")
	shows(t, m.dir, 1)
}
