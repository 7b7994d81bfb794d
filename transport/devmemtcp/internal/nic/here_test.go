package nic

import (
	"errors"
	"testing"
)

// TestHere reads what this machine has: it changes nothing.
func TestHere(t *testing.T) {
	k, err := openSockets()
	check(t, err)
	defer k.Close()
	lo := must(k.linkNamed("lo"))(t)
	if lo.Index != 1 || lo.Parent != "" || lo.MTU == 0 {
		t.Errorf("%+v", lo)
	}
	if at := must(k.linkAt(1))(t); at != lo {
		t.Errorf("by index %+v, by name %+v", at, lo)
	}
	if _, err := k.linkAt(1 << 30); !errors.Is(err, ErrNoNIC) {
		t.Errorf("no such index: %v", err)
	}
	if _, err := k.rss(lo); !errors.Is(err, ErrUnsupported) {
		t.Errorf("RSS of lo: %v", err)
	}
	if _, err := k.rules(lo); !errors.Is(err, ErrUnsupported) {
		t.Errorf("rules of lo: %v", err)
	}
	for _, name := range []string{"", "nosuchnic", "a name that is far too long"} {
		if _, err := Open(Config{Name: name, Queues: 1, StateDir: t.TempDir()}); !errors.Is(err, ErrNoNIC) {
			t.Errorf("Open(%q): %v", name, err)
		}
	}
	_, err = Open(Config{Name: "lo", Queues: 1, StateDir: t.TempDir()})
	if err == nil {
		t.Error("Open(lo) succeeded")
	}
	t.Log(err)
	for _, r := range must(Inspect(-1))(t) {
		t.Logf("%+v", r)
	}
	if got, _, err := Restore(t.TempDir() + "/none"); got != nil || err != nil {
		t.Errorf("Restore of no directory: %v, %v", got, err)
	}
}
