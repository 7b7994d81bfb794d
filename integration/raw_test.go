package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nasty is a name that a terminal obeys, and that forges lines.
const nasty = "\x1b[2J\u202e\nforged line\x7f"

// outputOf runs the program and returns all it says.
func outputOf(t *testing.T, args ...string) string {
	t.Helper()
	out, _ := exec.Command(bin, args...).CombinedOutput() // what it says is the test
	return string(out)
}

// checkPlain fails the test if text has what a terminal obeys, a forged line, or
// a lot.
func checkPlain(t *testing.T, what, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\u202e\x7f") || strings.Contains(text, "\nforged") {
		t.Errorf("%s is raw: %.300q", what, text)
	}
	if len(text) > 64<<10 {
		t.Errorf("%s has %d bytes", what, len(text))
	}
	if len(text) == 0 {
		t.Errorf("%s is empty", what)
	}
}

// TestNothingRaw: names of files, datasets and processes reach no terminal and no log
// raw, and refused ones not whole.
func TestNothingRaw(t *testing.T) {
	src := filepath.Join(t.TempDir(), nasty)
	must(t, os.Mkdir(src, 0o755))
	must(t, os.WriteFile(filepath.Join(src, nasty), []byte("data"), 0o644))
	target := start(t, exec.Command(bin, "serve", "--listen", "127.0.0.1:0", nasty+"="+src))
	line := target.line("serving ")
	addr := line[strings.LastIndex(line, " ")+1:]
	m := startMount(t, addr+"/"+nasty)
	checkPlain(t, "read", outputOf(t, "read", m.path(nasty)))
	checkPlain(t, "read --json", outputOf(t, "read", "--json", m.path(nasty)))
	checkPlain(t, "read of nothing", outputOf(t, "read", m.path("no"+nasty), m.path("none"+nasty)))
	checkPlain(t, "stat", outputOf(t, "stat", m.dir))
	checkPlain(t, "stat --json", outputOf(t, "stat", "--json", m.dir))
	checkPlain(t, "mounting again", outputOf(t, "mount", addr, m.dir))
	checkPlain(t, "umount in use", busyOutput(t, m))
	long := strings.Repeat(nasty, 100<<10/len(nasty)) // an argument may have 128 KiB
	empty := t.TempDir()
	for range 10 {
		checkPlain(t, "a dataset refused", outputOf(t, "mount", "--foreground", addr+"/"+long, empty))
	}
	target.kill(unix.SIGTERM)
	checkPlain(t, "the target's log", target.output())
	checkPlain(t, "the mount's log", m.output())
}

// busyOutput is what umount says while a process with a nasty name uses the mount.
func busyOutput(t *testing.T, m *mount) string {
	t.Helper()
	user := exec.Command("sh", "-c", `printf '\033[2Jx' >/proc/$$/comm; read line`)
	user.Dir = m.dir
	in, err := user.StdinPipe()
	must(t, err)
	must(t, user.Start())
	defer user.Wait()
	defer in.Close()
	eventually(t, "a process in the mount", func() error {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", user.Process.Pid))
		if err == nil && !bytes.Contains(comm, []byte("\x1b")) {
			err = fmt.Errorf("it is called %q", comm)
		}
		return err
	})
	out := outputOf(t, "umount", m.dir)
	if !strings.Contains(out, `\x1b[2Jx`) {
		t.Errorf("umount does not name the process: %q", out)
	}
	return out
}
