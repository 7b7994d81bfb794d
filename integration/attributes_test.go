package integration

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// newTmpfs returns a new directory on a file system of its own, which takes
// any time stamp and punches holes.
func newTmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mountTmpfs(t, dir)
	return dir
}

// TestTimeRange: time stamps before 1970, and beyond what nanoseconds in 64 bits
// can tell, of every kind of file, from a listing, a lookup and an open file.
func TestTimeRange(t *testing.T) {
	src := newTmpfs(t)
	seconds := map[string]int64{
		"year 1600": -11676096000, "year 1901": -1 << 31, "before the epoch": -1, "epoch": 0,
		"year 2038": 1 << 31, "year 2262": 9223372036, "year 2400": 13569465600, "year 5138": 1e11,
	}
	for name, sec := range seconds {
		for kind, create := range map[string]func(string) error{
			"file": func(p string) error { return os.WriteFile(p, nil, 0o644) },
			"dir":  func(p string) error { return os.Mkdir(p, 0o755) },
			"link": func(p string) error { return os.Symlink("to", p) },
			"fifo": func(p string) error { return unix.Mkfifo(p, 0o600) },
		} {
			path := filepath.Join(src, name+" "+kind)
			must(t, create(path))
			ts := []unix.Timespec{{Sec: sec, Nsec: 1}, {Sec: sec, Nsec: 999999999}}
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW))
		}
	}
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	looked := startMount(t, addr+"/data")
	for name, sec := range seconds { // looked up one by one
		var st unix.Stat_t
		must(t, unix.Lstat(looked.path(name+" file"), &st))
		if st.Mtim != (unix.Timespec{Sec: sec, Nsec: 999999999}) {
			t.Errorf("%s: modified at %v", name, st.Mtim)
		}
		f := mustOpen(t, looked.path(name+" file"), os.O_RDONLY)
		must(t, unix.Fstat(int(f.Fd()), &st))
		must(t, f.Close())
		if st.Mtim.Sec != sec || st.Atim.Sec != sec {
			t.Errorf("%s, open: modified at %v, accessed at %v", name, st.Mtim, st.Atim)
		}
	}
	want, got := listTree(t, src), listTree(t, startMount(t, addr+"/data").dir)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%q:\n got %s\nwant %s", name, got[name], want[name])
		}
	}
}

// TestXattrs: there are none, which programs that copy or show them are content
// with.
func TestXattrs(t *testing.T) {
	src := t.TempDir()
	makeTree(t, src)
	must(t, unix.Setxattr(filepath.Join(src, "f"), "user.of-the-source", []byte("x"), 0))
	m := startMount(t, src)
	for _, name := range []string{"", "f", "dir", "soft", "fifo", ".hbmfs", ".hbmfs/ctl", "dir/.hbmfs"} {
		for size := range 2 {
			if n, err := unix.Llistxattr(m.path(name), make([]byte, size)); n != 0 || err != nil {
				t.Errorf("listxattr %q: %d, %v; want an empty list", name, n, err)
			}
		}
		for _, attr := range []string{"user.of-the-source", "security.capability", "system.posix_acl_access"} {
			if n, err := unix.Lgetxattr(m.path(name), attr, make([]byte, 64)); err != unix.EOPNOTSUPP && err != unix.ENODATA {
				t.Errorf("getxattr %q %s: %d, %v, want none", name, attr, n, err)
			}
		}
	}
	if err := unix.Removexattr(m.path("f"), "user.x"); err != unix.EROFS {
		t.Errorf("removexattr: %v, want EROFS", err)
	}
	out := t.TempDir()
	for _, args := range [][]string{
		{"ls", "-lR", m.dir}, {"cp", "-a", m.path("dir"), out}, {"cp", "--preserve=all", m.path("f"), out},
		{"rsync", "-aXA", m.path("dir"), out}, {"getfacl", m.path("f")}, {"tar", "--xattrs", "-cf", out + "/tar", m.path("dir")},
	} {
		if _, err := exec.LookPath(args[0]); err != nil {
			continue
		}
		if said, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, said)
		}
	}
	if s := m.stats(); s.Errors["ENOSYS"] != 0 || s.Errors["EOPNOTSUPP"] != 0 {
		t.Errorf("errors: %v", s.Errors)
	}
}
