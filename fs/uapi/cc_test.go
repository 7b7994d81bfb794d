package uapi

import (
	"fmt"
	"os/exec"
	"slices"
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
		unsupported(t, fmt.Sprintf("%s compiles nothing here with %q (%s): %v %s", language, args, packages(language, args), err, firstLine(said)))
	}
	if said, err := compile(language, source, args...); err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
}

// packages are those of Debian that compile a language with these args.
func packages(language string, args []string) string {
	switch {
	case slices.Contains(args, "-m32"):
		return "package gcc-multilib"
	case language == "c++":
		return "packages g++ and libc6-dev"
	}
	return "packages gcc and libc6-dev"
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
