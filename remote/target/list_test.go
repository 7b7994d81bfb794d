package target

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListLargeDirectory(t *testing.T) {
	const entries = 100_000
	path := inMemory(t)
	dir, err := unix.Open(path, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	for i := range entries {
		if err := unix.Mknodat(dir, fmt.Sprintf("entry-%06d", i), unix.S_IFREG|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	listed, err := newRig(t, Export{"large", path}).mount().list("large", "")
	if err != nil {
		t.Fatal(err)
	}
	inodes := make(map[uint64]bool)
	for i := range entries {
		attr := listed[fmt.Sprintf("entry-%06d", i)]
		if attr == nil {
			t.Fatalf("entry %d is missing", i)
		}
		inodes[attr.Ino] = true
	}
	if len(listed) != entries || len(inodes) != entries {
		t.Errorf("%d names, %d inodes", len(listed), len(inodes))
	}
}

// inMemory returns a directory on a tmpfs, where there is one.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hbmfs-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestNames(t *testing.T) {
	r := newRig(t)
	m := r.mount()
	for i, name := range []string{"plain", "with space", "\xff\xfe not UTF-8", "new\nline", "-dash", "back\\slash", "colon:"} {
		r.write(name, uint64(i), 1, 100)
		ref, _ := m.open(name)
		m.holds(ref, uint64(i), 1, 100)
		if attr, err := m.stat("d", name); err != nil || attr.Size != 100 {
			t.Errorf("%q: %v, %v", name, attr, err)
		}
		if listed, err := m.list("d", ""); err != nil || listed[name] == nil {
			t.Errorf("%q is not listed: %v", name, err)
		}
	}
}

func TestListAttributes(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, 5000)
	if err := os.Link(r.path("f"), r.path("hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("to\xff", r.path("soft")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.path("sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	listed, err := r.mount().list("d", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, attr := range listed {
		var st unix.Stat_t
		if err := unix.Lstat(r.path(name), &st); err != nil {
			t.Fatal(err)
		}
		if attr.Ino != st.Ino || attr.Dev != st.Dev || attr.Mode != st.Mode || uint64(attr.Nlink) != uint64(st.Nlink) ||
			attr.Uid != st.Uid || attr.Gid != st.Gid || attr.Size != uint64(st.Size) || attr.Blocks != uint64(st.Blocks) ||
			attr.MtimeNs != st.Mtim.Nano() || attr.CtimeNs != st.Ctim.Nano() ||
			attr.AtimeNs != st.Atim.Nano() && st.Mode&unix.S_IFMT != unix.S_IFLNK { // reading a link is an access
			t.Errorf("%s: %v, stat says %+v", name, attr, st)
		}
	}
	if len(listed) != 4 || string(listed["soft"].Symlink) != "to\xff" {
		t.Errorf("listed %v", listed)
	}
}
