package client

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const mountTable = `24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 24 0:61 / /mnt/with\040blank rw,nosuid - fuse.hbmfs node7:7070/train ro
91 24 0:61 /sub/f /c/f\134\011\012 ro - fuse.hbmfs node7:7070/train ro
92 24 0:6 / /dev rw - devtmpfs udev rw
broken
`

func TestMountPoints(t *testing.T) {
	got, err := mountPoints(strings.NewReader(mountTable), unix.Mkdev(0, 61))
	if want := []string{"/mnt/with blank", "/c/f\\\t\n"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzMountPoints takes any text for a mount table.
func FuzzMountPoints(f *testing.F) {
	f.Add(mountTable)
	f.Add("1 2 0:61 / \\04")
	f.Fuzz(func(t *testing.T, table string) {
		points, err := mountPoints(strings.NewReader(table), unix.Mkdev(0, 61))
		if err == nil && len(points) > strings.Count(table, "0:61") {
			t.Errorf("%q of %q", points, table)
		}
	})
}

func TestVisibleRoot(t *testing.T) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self", &st); err != nil {
		unsupported(t, "no procfs: "+err.Error())
	}
	if root, err := visibleRoot("/proc/self/fdinfo", st.Dev); err != nil || root != "/proc" {
		t.Errorf("%q, %v", root, err)
	}
}
