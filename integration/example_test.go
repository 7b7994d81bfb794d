package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// unsupported is the one way to skip: what is tested cannot be had here.
func unsupported(t *testing.T, reason string) {
	t.Helper()
	t.Skip("unsupported: " + reason)
}

// needC skips the test where no C program can be built and run with args.
func needC(t *testing.T, args ...string) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "nothing")
	probe := exec.Command("cc", append(args, "-x", "c", "-o", to, "-")...)
	probe.Stdin = strings.NewReader("#include <stdio.h>\nint main(void) { return puts(\"\"); }\n")
	if out, err := probe.CombinedOutput(); err != nil {
		why, _, _ := strings.Cut(string(out), "\n")
		unsupported(t, fmt.Sprintf("cc builds nothing here with %q (packages gcc, libc6-dev, gcc-multilib): %v %s", args, err, why))
	}
	if err := exec.Command(to).Run(); errors.Is(err, syscall.ENOEXEC) {
		unsupported(t, fmt.Sprintf("this kernel runs no programs that are built with %q: %v", args, err))
	}
}

// compileC builds a C program that includes hbmfs.h, with what the compiler takes
// as args.
func compileC(t *testing.T, source string, args ...string) string {
	t.Helper()
	needC(t, args...)
	return buildC(t, slices.Concat(args, []string{"-std=c99", source})...)
}

func buildC(t *testing.T, args ...string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "program")
	args = append(args, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-I../fs/uapi", "-o", to)
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
			program := compileC(t, "../fs/client/example/fetch.c", args...)
			for via, source := range all {
				for _, pool := range []string{"6MiB", "1MiB"} {
					m := startMount(t, source, "--pool", pool)
					for i, size := range sizes {
						checkExample(t, m, program, i, size)
					}
					if s := m.stats().Cache; s.Errors != 0 || s.LeasedBytes > 0 && s.Leases == 0 {
						t.Errorf("%s, pool %s: %+v", via, pool, s)
					}
					m.awaitLeases(0)
				}
			}
		})
	}
}

// TestGoExamples runs the examples in the documentation of the Go client.
func TestGoExamples(t *testing.T) {
	const size = 5 << 20
	src := t.TempDir()
	content := make([]byte, size)
	copy(content[4096:], "x")
	must(t, os.WriteFile(filepath.Join(src, "shard-000"), content, 0o600))
	must(t, os.Mkdir(filepath.Join(src, "a"), 0o700))
	for _, name := range []string{"a/0001", "a/0002"} {
		must(t, os.WriteFile(filepath.Join(src, name), content[:1<<20], 0o600))
	}
	_, addr := startTarget(t, "127.0.0.1:0", "train="+src)
	m := startMount(t, addr+"/train", "--transport", "tcp")
	out, err := exec.Command("go", "run", exampleProgram(t, m.dir)).CombinedOutput()
	want := `Example: 4194304 bytes at 0 in device memory, staged
1048576 bytes at 4194304 in device memory, staged
ExampleDir_FetchFiles: a/0001: 1048576 bytes, segments 1, staged
a/0002: 1048576 bytes, segments 1, staged
ExampleFile_Digest: the same bytes: true
ExampleFile_Fetch: file offset 4096: 65536 bytes, the first is 'x'
ExampleFile_Fetch_loan: not lent, and came by staged: asked for by --transport
ExampleMount_Info: `
	if err != nil || !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), "in use: tcp (staged)\n") || strings.Count(string(out), ": 1048576 bytes in region ") != 2 {
		t.Errorf("%v:\n%s\nwant:\n%s", err, out, want)
	}
	m.awaitLeases(0)
}

// exampleProgram makes a program of all examples, on the mount at dir.
func exampleProgram(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile("../fs/client/example_test.go")
	must(t, err)
	source := strings.Replace(string(text), "package client_test", "package main", 1)
	source = strings.ReplaceAll(source, "/mnt/train", dir) + "\nfunc main() {\n"
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^func (Example\w*)\(\)`).FindAllStringSubmatch(source, -1) {
		names = append(names, m[1])
	}
	for _, name := range slices.Sorted(slices.Values(names)) {
		source += fmt.Sprintf("\tfmt.Print(\"%s: \")\n\t%s()\n", name, name)
	}
	program := filepath.Join(t.TempDir(), "examples.go")
	must(t, os.WriteFile(program, []byte(source+"}\n"), 0o600))
	return program
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
