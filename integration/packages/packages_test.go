package packages

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestMissing(t *testing.T) {
	keep := list
	defer func() { list = keep }()
	list = []pkg{
		{"here", "/proc/self/sta?", Test, ""},
		{"gone", "/proc/self/nothing", Test | Lab, ""},
		{"gone", "no-such-program", Test, ""},
		{"other-arch", "no-such-program", Test, "pdp11"},
		{"for-bench", "no-such-program", Bench, ""},
	}
	if got := Missing(Test); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("for tests %v", got)
	}
	if got := Missing(Bench | Lab); !slices.Equal(got, []string{"gone", "for-bench"}) {
		t.Errorf("for bench and lab %v", got)
	}
	if got := With("/proc/self/nothing"); got != "gone" {
		t.Errorf("it is in %q", got)
	}
}

func TestInstallWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := Install(context.Background(), io.Discard, []string{"x"}); !errors.Is(err, ErrNoApt) {
		t.Error(err)
	}
}

// TestInstallFails: what apt-get says is in the error.
func TestInstallFails(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if err := os.WriteFile(dir+"/apt-get", []byte("#!/bin/sh\necho E: no network\nexit 100\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := Install(context.Background(), io.Discard, []string{"x"})
	if os.Geteuid() != 0 {
		if !errors.Is(err, ErrNotRoot) {
			t.Error(err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), "E: no network") {
		t.Error(err)
	}
}
