package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryGroup makes a control group with a memory limit, until the test ends.
func memoryGroup(t *testing.T, limit string) string {
	t.Helper()
	for _, path := range []string{"/sys/fs/cgroup/memory/%s/memory.limit_in_bytes", "/sys/fs/cgroup/%s/memory.max"} {
		file := fmt.Sprintf(path, t.Name())
		dir := filepath.Dir(file)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { eventually(t, "the group is empty", func() error { return unix.Rmdir(dir) }) })
		if f, err := os.OpenFile(file, os.O_WRONLY, 0); err == nil { // there if it is a group
			must(t, second(f.WriteString(limit)))
			must(t, f.Close())
			return dir
		}
	}
	unsupported(t, "no control group for memory can be made here")
	return ""
}

// inGroup has a command begin in a control group.
func inGroup(group string, args ...string) *exec.Cmd {
	return exec.Command("sh", append([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group}, args...)...)
}

// TestPoolBeyondMemory: a pool that can't be had is refused when it is asked for,
// not when it is filled, with what bounds it and what to do.
func TestPoolBeyondMemory(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	writeNumbered(t, src, 1, extent)
	checkRefused(t, exec.Command(bin, "mount", "--pool", "100TiB", src, dir), exitFailure, "--pool 100TiB", "MemAvailable", "--overcommit-pool")
	checkGone(t, dir)

	m := startMount(t, src, "--pool", "1TiB", "--overcommit-pool")
	if !strings.Contains(m.output(), "warning: --pool 1TiB") {
		t.Errorf("no warning: %s", m.output())
	}
	checkTagged(t, fetchAll(t, m.path("1"), 0, extent), 1, 1, 0)
}

// TestPoolBeyondGroup: the limit of a control group counts as well.
func TestPoolBeyondGroup(t *testing.T) {
	src, dir, group := t.TempDir(), t.TempDir(), memoryGroup(t, "300M")
	checkRefused(t, inGroup(group, bin, "mount", "--pool", "280MiB", src, dir), exitFailure, "300 MiB", group)
	checkRefused(t, inGroup(group, bin, "mount", "--device", "memfd,memfd", "--pool", "150MiB", src, dir), exitFailure, "each of 2 devices", group)
	checkGone(t, dir)
}

// TestPoolOfNextUser: each user's pool is reckoned with, also before it is filled.
func TestPoolOfNextUser(t *testing.T) {
	src := t.TempDir()
	openPath(t, src)
	writeNumbered(t, src, 1, extent)
	group := memoryGroup(t, "300M")
	dir := filepath.Join(t.TempDir(), "mnt")
	must(t, os.Mkdir(dir, 0o755))
	openPath(t, dir)
	p := start(t, inGroup(group, bin, "mount", "--foreground", "--allow-other", "--pool", "150MiB", src, dir))
	m := &mount{process: p, dir: dir}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // if still there
	p.line("mounted ")
	checkTagged(t, fetchAll(t, m.path("1"), 0, extent), 1, 1, 0)
	attempt(t, nobody, "fetch ENOMEM "+m.path("1"), "read ok "+m.path("1"))
	if !strings.Contains(m.output(), group) {
		t.Errorf("the log does not say which limit: %s", m.output())
	}
	checkTagged(t, fetchAll(t, m.path("1"), 0, extent), 1, 1, 0)
}
