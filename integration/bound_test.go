package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBindOutlivesMount: what is bound elsewhere can be fetched from, and asked for
// its counters, when the mount itself is unmounted. Then the daemon ends with it.
func TestBindOutlivesMount(t *testing.T) {
	const size = 1 << 20
	src, bound := t.TempDir(), t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, size)
	m := startMount(t, src)
	must(t, unix.Mount(m.dir, bound, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(bound, unix.MNT_DETACH) })
	if out, code := hbmfs(t, "umount", m.dir); code != 0 {
		t.Fatalf("umount: %d: %s", code, out)
	}
	checkTagged(t, fetchAll(t, filepath.Join(bound, "f"), 0, size), 1, 1, 0)
	if out, code := hbmfs(t, "stat", bound); code != 0 {
		t.Errorf("stat: %d: %s", code, out)
	}
	m.checkEnds(func() {
		if out, code := hbmfs(t, "umount", bound); code != 0 {
			t.Errorf("umount of the bind: %d: %s", code, out)
		}
	})
}

// TestMountInterrupted at the very end of its start: it fails, and there is no
// mount, or it is there.
func TestMountInterrupted(t *testing.T) {
	src := t.TempDir()
	for range 8 {
		dir := t.TempDir()
		cmd := exec.Command(bin, "mount", src, dir)
		must(t, cmd.Start())
		eventually(t, "it is mounted, or over", func() error {
			if isMounted(t, dir) {
				return nil
			}
			return os.ErrNotExist
		})
		must(t, cmd.Process.Signal(unix.SIGINT))
		_ = cmd.Wait() // its code tells
		code := cmd.ProcessState.ExitCode()
		eventually(t, "what the exit code says", func() error {
			if mounted := isMounted(t, dir); mounted != (code == 0) {
				return fmt.Errorf("exit code %d, mounted: %v", code, mounted)
			}
			return nil
		})
		if code == 0 {
			_, _ = hbmfs(t, "umount", dir)
		} else if code != 130 {
			t.Errorf("exit code %d", code)
		}
	}
}
