package creds

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOfPeer: this process, connected to itself, is who it is.
func TestOfPeer(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	c, err := OfPeer(fds[0], uint32(os.Getpid()), uid, gid)
	if err != nil {
		unsupported(t, err.Error())
	}
	var groups []uint32
	own, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range own {
		groups = append(groups, uint32(g))
	}
	slices.Sort(groups)
	slices.Sort(c.Groups)
	if c.UID != uid || c.GID != gid || !slices.Equal(groups, c.Groups) {
		t.Errorf("%+v, want %d, %d, %v", c, uid, gid, groups)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	// Another test may have had the first thread for its own.
	first, caps, err := parse(status)
	if want := first.UID == 0 && caps&(capDACOverride|capDACReadSearch) != 0; err != nil || c.override != want {
		t.Errorf("%+v, want override %v, %v", c, want, err)
	}
	if other, err := OfPeer(fds[0], 1, 1000, 1000); err != nil || other.override {
		t.Errorf("uid 1000 by another's process: %+v, %v", other, err)
	}
}

// unsupported is the one way to skip: what is tested cannot be had here.
func unsupported(t *testing.T, reason string) {
	t.Helper()
	t.Skip("unsupported: " + reason)
}
