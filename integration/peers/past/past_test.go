package past

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNoRepository(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("GIT_CEILING_DIRECTORIES", "/")
	if exec.Command("git", "rev-parse").Run() == nil {
		t.Skip("unsupported: the temporary directory is in a repository")
	}
	if program, err := Program(t.Context(), "HEAD", t.TempDir(), func(string) {}); !errors.Is(err, ErrNoCommit) {
		t.Errorf("%q, error %v", program, err)
	}
}

// makeRepository makes the working directory a repository of a module with a
// program, which prints what the commit has in its source, and commits twice.
func makeRepository(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("unsupported: no git here")
	}
	t.Chdir(t.TempDir())
	for _, said := range []string{"first", "second"} {
		err := errors.Join(os.MkdirAll("cmd/hbmfs", 0o755), os.WriteFile("go.mod", []byte("module hbmfs\n"), 0o644),
			os.WriteFile("cmd/hbmfs/main.go", []byte("package main\n\nfunc main() { print(\""+said+"\") }\n"), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range []string{"init -q .", "add .", "-c user.name=a -c user.email=a@b commit -q -m " + said} {
			if out, err := exec.Command("git", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Fatalf("git %s: %v\n%s", args, err, out)
			}
		}
	}
}

func TestProgramIsBuiltOnce(t *testing.T) {
	makeRepository(t)
	scratch, built := t.TempDir(), 0
	for range 2 {
		program, err := Program(t.Context(), "HEAD^", scratch, func(string) { built++ })
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program).CombinedOutput()
		if err != nil || string(out) != "first" {
			t.Errorf("%q, error %v; want what the first commit says", out, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(scratch, "*")); built != 1 || len(left) > 0 || err != nil {
		t.Errorf("built %d times, left %v", built, left)
	}
	if program, err := Program(t.Context(), "v99", scratch, func(string) {}); !errors.Is(err, ErrNoCommit) {
		t.Errorf("%q, error %v for a commit that is not there", program, err)
	}
}
