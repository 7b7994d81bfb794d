package integration

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// unsupported is the one way to skip: what is tested cannot be had here.
func unsupported(t *testing.T, reason string) {
	t.Helper()
	t.Skip("unsupported: " + reason)
}

// compileExample builds the C example with what the compiler takes as args.
func compileExample(t *testing.T, args ...string) string {
	t.Helper()
	probe := exec.Command("cc", append(args, "-x", "c", "-o", "/dev/null", "-")...)
	probe.Stdin = strings.NewReader("#include <stdio.h>\nint main(void) { return puts(\"\"); }\n")
	if out, err := probe.CombinedOutput(); err != nil {
		unsupported(t, "cc "+strings.Join(args, " ")+" builds nothing here: "+string(out))
	}
	to := filepath.Join(t.TempDir(), "fetch")
	args = append(args, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2",
		"-I../fs/uapi", "-o", to, "../fs/client/example/fetch.c")
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("cc %v: %v\n%s", args, err, out)
	}
	return to
}

// TestExample compiles the C example, as a 64- and a 32-bit program, and has it
// write files out of device memory.
func TestExample(t *testing.T) {
	sizes := []int64{0, 1, extent, 4 << 20, 9<<20 + 12345}
	src := t.TempDir()
	for i, size := range sizes {
		writeNumbered(t, src, i, size)
	}
	all := sources(t, src)
	for name, args := range map[string][]string{"64": nil, "32": {"-m32"}} {
		t.Run(name, func(t *testing.T) {
			program := compileExample(t, args...)
			for via, source := range all {
				m := startMount(t, source, "--pool", "6MiB")
				for i, size := range sizes {
					checkExample(t, m, program, i, size)
				}
				if s := m.stats().Cache; s.Errors != 0 || s.PinnedBytes > 0 && s.Leases == 0 {
					t.Errorf("%s: %+v", via, s)
				}
				m.awaitLeases(0)
			}
		})
	}
}

func checkExample(t *testing.T, m *mount, program string, number int, size int64) {
	t.Helper()
	cmd := exec.Command(program, m.path(strconv.Itoa(number)), m.path(".hbmfs/ctl"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || int64(len(out)) != size {
		t.Errorf("file %d: %d bytes of %d, %v: %s", number, len(out), size, err, stderr.String())
		return
	}
	checkTagged(t, out, number, 1, 0)
}
