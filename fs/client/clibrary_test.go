package client

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// cDir has the C library.
const cDir = "c"

// cStrict has compilers refuse whatever they could complain of.
var cStrict = []string{"-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-I" + cDir, "-I../uapi"}

// compiler is how a program compiles a language.
type compiler struct {
	program, standard, language string
	args                        []string
}

var cCompilers = []compiler{
	{"cc", "-std=c99", "c", nil}, {"cc", "-std=c11", "c", nil}, {"cc", "-std=c17", "c", []string{"-m32"}},
	{"clang", "-std=c11", "c", nil}, {"c++", "-std=c++11", "c++", nil}, {"c++", "-std=c++17", "c++", nil},
}

// compile has source compiled, of a file or, with "-", as text.
func (c compiler) compile(source, text, to string, args ...string) error {
	args = slices.Concat([]string{c.standard, "-o", to}, args, []string{"-x", c.language, source})
	cmd := exec.Command(c.program, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", c.program, args, err, out)
	}
	return nil
}

// need skips the test where the compiler builds nothing, with these args, that runs.
func (c compiler) need(t *testing.T, args ...string) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "nothing")
	err := c.compile("-", "#include <stdlib.h>\nint main(void) { return 0; }\n", to, args...)
	if err == nil {
		err = exec.Command(to).Run()
	}
	if err != nil {
		unsupported(t, fmt.Sprintf("%s builds nothing here with %q (packages gcc, g++, libc6-dev, gcc-multilib)", c.program, args))
	}
}

// TestCLibraryCompiles has compilers of both languages, for 64 and 32 bits, take the
// library without a word.
func TestCLibraryCompiles(t *testing.T) {
	for _, c := range cCompilers {
		if _, err := exec.LookPath(c.program); err != nil && c.program == "clang" {
			continue // one more of what is there
		}
		t.Run(c.program+c.standard, func(t *testing.T) {
			c.need(t, c.args...)
			args := slices.Concat(cStrict, c.args, []string{"-c"})
			if err := c.compile(filepath.Join(cDir, "hbmfs_client.c"), "", "/dev/null", args...); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCRing runs the C library's rings against a mount's side that is a thread of the
// same program, also with what finds races and wild accesses.
func TestCRing(t *testing.T) {
	for name, args := range map[string][]string{
		"64": nil, "32": {"-m32"}, "race": {"-fsanitize=thread"}, "address": {"-fsanitize=address,undefined"},
	} {
		t.Run(name, func(t *testing.T) {
			c := compiler{"cc", "-std=c11", "c", nil}
			c.need(t, args...)
			program := filepath.Join(t.TempDir(), "ring")
			if err := c.compile(filepath.Join(cDir, "testdata", "ring.c"), "", program, slices.Concat(cStrict, args)...); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(program, t.TempDir()).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
