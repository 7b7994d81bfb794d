package mounts

import (
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
)

const unixSockets = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 4711 @hbmfs/0:5/a
0000000000000000: 00000003 00000000 00000000 0001 03 4712 @hbmfs/0:5/connected
0000000000000000: 00000002 00000000 00010000 0001 01 4713 @hbmfs/0:5/b
0000000000000000: 00000002 00000000 00010000 0001 01 4713 @hbmfs/0:5/b
0000000000000000: 00000002 00000000 00010000 0001 01 4714 @hbmfs/0:55/c
0000000000000000: 00000002 00000000 00010000 0001 01 4715 /run/hbmfs/0:5/d
0000000000000000: 00000002 00000000 00010000 0001 01 4716 @hbmfs/0:5/e f
0000000000000000: 00000002 00000000 00010000 0001 01 4717
@hbmfs/0:5/g
`

func TestParseUnixSockets(t *testing.T) {
	got, err := parseUnixSockets(strings.NewReader(unixSockets), "@hbmfs/0:5/")
	if want := []string{"@hbmfs/0:5/b", "@hbmfs/0:5/a"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func FuzzParseUnixSockets(f *testing.F) {
	f.Add(unixSockets)
	f.Fuzz(func(t *testing.T, s string) {
		names, _ := parseUnixSockets(strings.NewReader(s), "@hbmfs/0:5/")
		for _, name := range names {
			if !strings.HasPrefix(name, "@hbmfs/0:5/") || !strings.Contains(s, name) {
				t.Fatalf("name %q", name)
			}
		}
	})
}

// TestWhoListens: the last that announced itself is found while it is there.
func TestWhoListens(t *testing.T) {
	const dev = "0:1048575" // no mount's
	uid := uint32(os.Geteuid())
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if name, _, _, err := whoListens(dev, uid); err == nil {
		t.Fatalf("%s listens", name)
	}
	defer Announce(dev, log)()
	first, _, pidfd, err := whoListens(dev, uid)
	if err != nil {
		t.Fatal(err)
	}
	pidfd.Close()
	withdraw := Announce(dev, log)
	last, pid, pidfd, err := whoListens(dev, uid)
	if err != nil || last <= first || pid != os.Getpid() || !exists(pidfd) {
		t.Fatalf("%s after %s, pid %d, %v", last, first, pid, err)
	}
	pidfd.Close()
	if _, _, _, err := whoListens(dev, uid+1); err == nil {
		t.Error("another user's counts")
	}
	withdraw()
	if _, _, err := listenerAt(last, uid); err == nil {
		t.Error("it is there after its end")
	}
}
