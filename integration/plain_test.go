package integration

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestPlainReads: every way to read a file without the ioctls, over the network.
func TestPlainReads(t *testing.T) {
	const size = 5<<20 + 4321
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, size)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	open := func(flags int) *os.File {
		f := mustOpen(t, m.path("f"), flags)
		t.Cleanup(func() { f.Close() })
		return f
	}
	t.Run("read", func(t *testing.T) {
		b, err := io.ReadAll(open(os.O_RDONLY))
		must(t, err)
		wantTagged(t, b, size)
	})
	t.Run("pread", func(t *testing.T) {
		f := open(os.O_RDONLY)
		for _, off := range []int64{0, 1, 4095, 1 << 20, 3<<20 - 7, size - 10} {
			b := make([]byte, 9)
			_, err := f.ReadAt(b, off)
			must(t, err)
			checkTagged(t, b, 1, 1, off)
		}
		n, err := f.ReadAt(make([]byte, 8), size)
		if n != 0 || err != io.EOF {
			t.Errorf("pread at the end: %d, %v", n, err)
		}
	})
	t.Run("O_DIRECT", func(t *testing.T) {
		f := open(os.O_RDONLY | unix.O_DIRECT)
		b := aligned(size + 4096)
		n, err := io.ReadFull(f, b)
		if err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
		wantTagged(t, b[:n], size)
	})
	for name, flags := range map[string]int{"mmap private": unix.MAP_PRIVATE, "mmap shared": unix.MAP_SHARED} {
		t.Run(name, func(t *testing.T) {
			b, err := unix.Mmap(int(open(os.O_RDONLY).Fd()), 0, size, unix.PROT_READ, flags)
			must(t, err)
			defer unix.Munmap(b)
			wantTagged(t, b, size)
		})
	}
	t.Run("mmap shared for writing", func(t *testing.T) {
		_, err := unix.Mmap(int(open(os.O_RDONLY).Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if !errors.Is(err, unix.EACCES) {
			t.Errorf("%v, want EACCES", err)
		}
	})
	if s := m.stats(); s.PlainReads == 0 || s.Cache.Misses != 0 {
		t.Errorf("plain reads counted %d, device cache misses %d; want some and none", s.PlainReads, s.Cache.Misses)
	}
}

func wantTagged(t *testing.T, b []byte, size int) {
	t.Helper()
	if len(b) != size {
		t.Fatalf("%d bytes, want %d", len(b), size)
	}
	checkTagged(t, b, 1, 1, 0)
}

// aligned returns memory that O_DIRECT takes.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & 4095)
	return b[skip:][:n]
}

// TestTree: names, kinds, attributes and links of a tree, and that nothing in it
// can be changed.
func TestTree(t *testing.T) {
	src := t.TempDir()
	makeTree(t, src)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")

	want, got := listTree(t, src), listTree(t, m.dir)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%q:\n got %s\nwant %s", name, got[name], want[name])
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%q is in the mount only", name)
	}

	t.Run("exec", func(t *testing.T) {
		out, err := exec.Command(m.path("tool")).CombinedOutput()
		if err != nil || len(out) != 0 {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("over 4 GiB", func(t *testing.T) {
		f := mustOpen(t, m.path("sparse"), os.O_RDONLY)
		defer f.Close()
		b := make([]byte, 16)
		_, err := f.ReadAt(b, 5<<30)
		must(t, err)
		checkTagged(t, b, 7, 1, 5<<30)
		_, err = f.ReadAt(b, 4<<30)
		must(t, err)
		if !bytes.Equal(b, make([]byte, 16)) {
			t.Errorf("a hole reads % x", b)
		}
		checkTagged(t, fetchAll(t, m.path("sparse"), 5<<30, 16), 7, 1, 5<<30)
	})
	t.Run("statfs", func(t *testing.T) {
		var want, got unix.Statfs_t
		must(t, unix.Statfs(src, &want))
		must(t, unix.Statfs(m.dir, &got))
		if got.Blocks != want.Blocks || got.Namelen != want.Namelen || got.Files != want.Files {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	t.Run("writes", func(t *testing.T) { checkReadOnly(t, m) })
}

func makeTree(t *testing.T, src string) {
	t.Helper()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 100000)
	writeTagged(t, filepath.Join(src, "empty"), 1, 1, 0)
	writeTagged(t, filepath.Join(src, "not \xff\xfe UTF-8 \n"), 2, 1, 17)
	must(t, os.Mkdir(filepath.Join(src, "dir"), 0o750))
	must(t, os.Mkdir(filepath.Join(src, "dir", "\x80"), 0o711))
	writeTagged(t, filepath.Join(src, "dir", "\x80", "deep"), 3, 1, 5)
	for b := 1; b < 256; b++ {
		if name := string([]byte{byte(b)}); name != "/" && name != "." {
			writeTagged(t, filepath.Join(src, "dir", "\x80", "a"+name), 4, 1, int64(b))
		}
	}
	writeTagged(t, filepath.Join(src, strings.Repeat("n", 255)), 5, 1, 3)
	must(t, os.Symlink(strings.Repeat("t/", 2047), filepath.Join(src, "long link")))
	must(t, os.Link(filepath.Join(src, "f"), filepath.Join(src, "dir", "hard")))
	must(t, os.Symlink("dir/hard", filepath.Join(src, "soft")))
	must(t, os.Symlink("/nowhere/\xff", filepath.Join(src, "dangling")))
	must(t, unix.Mkfifo(filepath.Join(src, "fifo"), 0o600))
	must(t, os.Chown(filepath.Join(src, "f"), 1234, 4321))
	must(t, os.Chmod(filepath.Join(src, "empty"), 0))
	must(t, os.Chtimes(filepath.Join(src, "f"), time.Unix(1, 2), time.Unix(1e9, 123456789)))
	must(t, os.WriteFile(filepath.Join(src, "tool"), mustRead(t, "/bin/true"), 0o755))
	f, err := os.Create(filepath.Join(src, "sparse"))
	must(t, err)
	_, err = f.WriteAt(tagged(7, 1, 5<<30, 16), 5<<30)
	must(t, errors.Join(err, f.Close()))
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// listTree describes all that there is below dir, by name.
func listTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		st := info.Sys().(*syscall.Stat_t)
		all[rel] = fmt.Sprintf("mode %o nlink %d uid %d gid %d size %d blocks %d mtime %v ctime %v",
			st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Blocks, st.Mtim, st.Ctim)
		if info.Mode()&os.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			must(t, err)
			all[rel] += " -> " + hex.EncodeToString([]byte(to))
		}
		if st.Nlink > 1 && info.Mode().IsRegular() {
			all[rel] += fmt.Sprintf(" inode %d", st.Ino)
		}
		return nil
	}))
	return all
}

func checkReadOnly(t *testing.T, m *mount) {
	t.Helper()
	f, dir := m.path("f"), m.path("dir")
	for what, err := range map[string]error{
		"open for writing": second(os.OpenFile(f, os.O_WRONLY, 0)),
		"open to truncate": second(os.OpenFile(f, os.O_RDWR|os.O_TRUNC, 0)),
		"create":           second(os.Create(filepath.Join(dir, "new"))),
		"truncate":         os.Truncate(f, 0),
		"chmod":            os.Chmod(f, 0o600),
		"chown":            os.Chown(f, 0, 0),
		"utimes":           os.Chtimes(f, time.Now(), time.Now()),
		"unlink":           unix.Unlink(f),
		"rmdir":            unix.Rmdir(filepath.Join(dir, "\x80")),
		"mkdir":            os.Mkdir(filepath.Join(dir, "new"), 0o755),
		"rename":           unix.Rename(f, f+"2"),
		"link":             unix.Link(f, f+"2"),
		"symlink":          unix.Symlink("x", f+"2"),
		"mkfifo":           unix.Mkfifo(f+"2", 0o600),
		"setxattr":         unix.Setxattr(f, "user.x", []byte("y"), 0),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want EROFS", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestLargeDirectory lists 100 000 entries, with and without a rewind half-way.
func TestLargeDirectory(t *testing.T) {
	const n = 100_000
	src := t.TempDir()
	for i := range n {
		fd, err := unix.Open(filepath.Join(src, fmt.Sprintf("%06d", i)), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		must(t, err)
		must(t, unix.Close(fd))
	}
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	d := mustOpen(t, m.dir, os.O_RDONLY)
	defer d.Close()
	_, err := d.Readdirnames(n / 2)
	must(t, err)
	_, err = d.Seek(0, io.SeekStart)
	must(t, err)
	names, err := d.Readdirnames(-1)
	must(t, err)
	slices.Sort(names)
	if len(names) != n || names[0] != "000000" || names[n-1] != fmt.Sprintf("%06d", n-1) || len(slices.Compact(names)) != n {
		t.Errorf("%d entries from %s to %s, want %d different ones", len(names), names[0], names[len(names)-1], n)
	}
}

// TestDatasets mounts all of a target's datasets: directories, and a file.
func TestDatasets(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	writeTagged(t, filepath.Join(one, "f"), 1, 1, 3000)
	writeTagged(t, filepath.Join(two, "f"), 2, 1, 3000)
	_, addr := startTarget(t, "127.0.0.1:0", "one="+one, "two="+two, "single="+filepath.Join(two, "f"), "nested="+filepath.Dir(two))
	m := startMount(t, addr)
	for name, file := range map[string]int{"one/f": 1, "two/f": 2, "single/f": 2, "nested/" + filepath.Base(two) + "/f": 2} {
		checkTagged(t, mustRead(t, m.path(name)), file, 1, 0)
		checkTagged(t, fetchAll(t, m.path(name), 0, 3000), file, 1, 0)
	}
	entries, err := os.ReadDir(m.dir)
	must(t, err)
	if len(entries) != 4 {
		t.Errorf("the mount shows %v, want four datasets", entries)
	}
	single := startMount(t, addr+"/single")
	checkTagged(t, mustRead(t, single.path("f")), 2, 1, 0)
}
