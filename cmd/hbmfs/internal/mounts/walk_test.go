package mounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWalkTo compares with what the kernel finds.
func TestWalkTo(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(top, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{
		"rel": "a/b", "abs": filepath.Join(top, "a"), "up": "a/../a/b/..", "twice": "rel", "loop": "loop", "dangling": "nothing/b", "a/back": "../a/b",
	} {
		if err := os.Symlink(to, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(top, "a"))
	for _, path := range []string{
		"/", ".", "b", "../rel", top, top + "/", top + "//a//b/", "../abs/b", "../up/b", "../twice", "back", "../a/back/..",
		"../loop", "../dangling", "none", "b/none", "none/..", "../rel/..", "../rel/../b", "../rel/../../a", top + "/rel/../b", "../../../../../../../..",
	} {
		want, wantErr := filepath.EvalSymlinks(path)
		if wantErr == nil {
			want, wantErr = filepath.Abs(want)
		}
		got, err := Walk(path)
		if (err == nil) != (wantErr == nil) || err == nil && (got.Place != want || got.Ours) {
			t.Errorf("Walk(%s) = %+v, %v; want %s, %v", path, got, err, want, wantErr)
		}
	}
	if _, err := Walk("../loop"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v, want ELOOP", err)
	}
}

// TestWalkToAnotherProcess: what its links say is not where they lead.
func TestWalkToAnotherProcess(t *testing.T) {
	for _, link := range []string{"root", "cwd"} {
		if w, err := Walk(fmt.Sprintf("/proc/%d/%s/tmp", os.Getppid(), link)); err == nil {
			t.Errorf("%s of another process leads to %s", link, w.Place)
		}
	}
	if w, err := Walk("/proc/self/root/"); err != nil || w.Place != "/" {
		t.Errorf("this process's root: %+v, %v", w, err)
	}
}

func TestParseState(t *testing.T) {
	for want, status := range map[State][]string{
		Unknown: {"", "Name:\thbmfs\n", "State:\n"},
		Running: {
			"Name:\tx\nState:\tS (sleeping)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\n",
			"State:\tD (disk sleep)\n",
		},
		Stopped: {"State:\tT (stopped)\nPid:\t7\n", "State:\tt (tracing stop)\n"},
		Dying: {
			"State:\tZ (zombie)\n", "State:\tX (dead)\n",
			"State:\tD (disk sleep)\nSigPnd:\t0000000000000100\n", "State:\tT (stopped)\nShdPnd:\t0000000000000100\n",
		},
	} {
		for _, s := range status {
			if got := parseState([]byte(s)); got != want {
				t.Errorf("parseState(%q) = %d, want %d", s, got, want)
			}
		}
	}
	self, err := os.ReadFile("/proc/self/status")
	if got := parseState(self); err != nil || got != Running {
		t.Errorf("this process: %d, %v", got, err)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte("State:\tT (stopped)\nSigPnd:\t0000000000000100\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := parseState(b); s < Unknown || s > Dying {
			t.Fatalf("state %d", s)
		}
	})
}
