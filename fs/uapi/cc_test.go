package uapi

import (
	"os/exec"
	"strings"
	"testing"
)

const (
	cCompiler   = "cc"
	cxxCompiler = "c++"
)

// kernelHeaders is all that hbmfs.h includes.
const kernelHeaders = "#include <linux/ioctl.h>\n#include <linux/types.h>\n"

// unsupported is the one way to skip: what is tested cannot be had here.
func unsupported(t *testing.T, reason string) {
	t.Helper()
	t.Skip("unsupported: " + reason)
}

// compile checks source, as language ("c" or "c++"), and returns what the
// compiler said if it refused it.
func compile(language, source string, args ...string) (string, error) {
	compiler := cCompiler
	if language == "c++" {
		compiler = cxxCompiler
	}
	args = append(args, "-x", language, "-I.", "-fsyntax-only", "-")
	cmd := exec.Command(compiler, args...)
	cmd.Stdin = strings.NewReader(source)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// mustCompile fails the test if source is refused, and skips it if the compiler
// is not here or does not even accept the kernel's headers with these args.
func mustCompile(t *testing.T, language, source string, args ...string) {
	t.Helper()
	if said, err := compile(language, kernelHeaders, args...); err != nil {
		unsupported(t, strings.TrimSpace("no compiler for "+language+" "+strings.Join(args, " ")+": "+err.Error()+" "+said))
	}
	if said, err := compile(language, source, args...); err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
}
