package dir

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
	listed, err := newRigOf(t, path).list("")
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
	for i, name := range []string{"plain", "with space", "\xff\xfe not UTF-8", "new\nline", "-dash", "back\\slash", "colon:"} {
		r.write(name, uint64(i), 1, 100)
		o := r.open(name)
		o.holds(t, uint64(i), 1, 100)
		o.Close()
		if attr, err := r.stat(name); err != nil || attr.Size != 100 {
			t.Errorf("%q: %v, %v", name, attr, err)
		}
		if listed, err := r.list(""); err != nil || listed[name] == nil {
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
	listed, err := r.list("")
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
			!isTime(st.Mtim, attr.Mtime, attr.MtimeNsec) || !isTime(st.Ctim, attr.Ctime, attr.CtimeNsec) ||
			!isTime(st.Atim, attr.Atime, attr.AtimeNsec) && st.Mode&unix.S_IFMT != unix.S_IFLNK { // reading a link is an access
			t.Errorf("%s: %v, stat says %+v", name, attr, st)
		}
	}
	if len(listed) != 4 || string(listed["soft"].Symlink) != "to\xff" {
		t.Errorf("listed %v", listed)
	}
}

func isTime(t unix.Timespec, sec int64, nsec uint32) bool {
	return t.Sec == sec && t.Nsec == int64(nsec)
}
