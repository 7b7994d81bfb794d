package mounts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mountinfoSample = `23 28 0:21 / /proc rw,relatime shared:13 - proc proc rw
40 28 0:50 / /mnt/a\040b rw,nosuid master:1 propagate_from:2 - fuse.hbmfs 10.0.0.1:7070/train rw,user_id=1000,group_id=7
short line
41 40 0:51 / /mnt/a\040b rw - fuse.sshfs host:/x\134y rw
42 28 0:52 / /mnt/c rw - ext4
`

func TestParseMountinfo(t *testing.T) {
	got, err := parseMountinfo(strings.NewReader(mountinfoSample))
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{"0:21", "/proc", "proc", "proc", 0},
		{"0:50", "/mnt/a b", "fuse.hbmfs", "10.0.0.1:7070/train", 1000},
		{"0:51", "/mnt/a b", "fuse.sshfs", `host:/x\y`, 0},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Entry{})); d != "" {
		t.Fatalf("entries differ (-want +got):\n%s", d)
	}
	if top, ok := topmost(got, "/mnt/a b"); !ok || top.Type != "fuse.sshfs" {
		t.Errorf("topmost = %+v, %v; want the later mount", top, ok)
	}
	if _, ok := topmost(got, "/mnt"); ok {
		t.Error("a directory above a mount counts as one")
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add(mountinfoSample)
	f.Add(`1 2 3 4 \777\04 6 - a \`)
	f.Fuzz(func(t *testing.T, s string) {
		entries, err := parseMountinfo(strings.NewReader(s))
		if err == nil && len(entries) > strings.Count(s, "\n")+1 {
			t.Fatalf("%d entries from %d lines", len(entries), strings.Count(s, "\n")+1)
		}
	})
}
