package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bind shows from at to, as container runtimes do with a volume's subPath.
func bind(t *testing.T, from, to string) {
	t.Helper()
	must(t, unix.Mount(from, to, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
}

// TestBind: fetch works by a bind mount of a directory alone, of a file if some
// directory of the mount is visible beside it, and says what to bind otherwise.
func TestBind(t *testing.T) {
	src := t.TempDir()
	for _, dir := range []string{"sub", "taken", "taken/.hbmfs"} {
		must(t, os.Mkdir(filepath.Join(src, dir), 0o755))
	}
	for _, name := range []string{"sub/f", "taken/f", "taken/.hbmfs/mine"} {
		writeTagged(t, filepath.Join(src, name), 1, 1, 3*extent+5)
	}
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	for _, m := range []*mount{startMount(t, addr+"/data"), startMount(t, addr)} {
		data := m.dir
		if m.Args[len(m.Args)-2] == addr {
			data = m.path("data")
		}
		place := t.TempDir()
		dir, file := filepath.Join(place, "a dir"), filepath.Join(place, "a file")
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(file, nil, 0o644))
		bind(t, filepath.Join(data, "sub"), dir)
		bind(t, filepath.Join(data, "sub/f"), file)
		for what, hidden := range map[string][]string{ // in a namespace of its own
			"all visible": nil, "the directory only": {m.dir, file}, "the file beside it": {m.dir},
		} {
			path := file
			if len(hidden) == 2 {
				path = filepath.Join(dir, "f")
			}
			if out, err := readWithout(path, hidden...); err != nil || !strings.Contains(out, " 0  "+path) {
				t.Errorf("%s: %v\n%s", what, err, out)
			}
		}
		out, err := readWithout(file, m.dir, dir)
		if err == nil || !strings.Contains(out, "make a directory of it visible") {
			t.Errorf("the file only: %v\n%s", err, out)
		}
		if out, code := command(t, "stat", dir); code != 0 || !strings.Contains(out, addr) {
			t.Errorf("stat of a bound directory: exit code %d\n%s", code, out)
		}
		checkShadowed(t, data)
		must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0o200))
		m.stats() // by the root's own, of which the others are forgotten
	}
}

// checkShadowed: what the source has by the name of the socket's directory is
// shown, and no directory lists what it has not.
func checkShadowed(t *testing.T, data string) {
	t.Helper()
	checkTagged(t, mustRead(t, filepath.Join(data, "taken/.hbmfs/mine")), 1, 1, 0)
	entries, err := os.ReadDir(filepath.Join(data, "sub"))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("sub has %v", entries)
	}
	info, err := os.Stat(filepath.Join(data, "sub/.hbmfs/ctl"))
	if err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the socket below the root: %v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(data, "sub/.hbmfs/new"), nil, 0o644); err == nil {
		t.Error("a file was made beside the socket")
	}
}

// readWithout fetches path where the mounts at hidden are not visible.
func readWithout(path string, hidden ...string) (string, error) {
	script := `for m in "$@"; do umount -l "$m" || exit 99; done; exec "$HBMFS" read --verify "$FILE"`
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, "sh"}, hidden...)...)
	cmd.Env = append(os.Environ(), "HBMFS="+bin, "FILE="+path)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
