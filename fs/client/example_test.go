package client

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestExampleCompiles builds the C example with nothing but hbmfs.h and libc.
func TestExampleCompiles(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		unsupported(t, "no C compiler: "+err.Error())
	}
	program := filepath.Join(t.TempDir(), "fetch")
	said, err := exec.Command("cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I../uapi",
		"-o", program, filepath.Join("example", "fetch.c")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
	if out, err := exec.Command(program).CombinedOutput(); err == nil {
		t.Errorf("without arguments it says %q and no error", out)
	}
}
