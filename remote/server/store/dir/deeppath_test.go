package dir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/server/store/storetest"
)

// makeDeep makes the directories of path below dir and returns the last one,
// which no path leads to.
func makeDeep(t *testing.T, dir, path string) int {
	t.Helper()
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for name := range strings.SplitSeq(path, "/") {
		if err == nil {
			err = unix.Mkdirat(at, name, 0o755)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			t.Fatal(err)
		}
		above := at
		at, err = unix.Openat(above, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(above)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(at) })
	return at
}

func writeAt(t *testing.T, dir int, name string, content []byte) {
	t.Helper()
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, content); err != nil {
		t.Fatal(err)
	}
}

func TestPieces(t *testing.T) {
	for n := 1; n <= store.MaxPath; n += 199 {
		path := storetest.DeepPath(n)
		parts := pieces(path)
		if strings.Join(parts, "/") != path || len(parts) > n/(kernelPath-store.MaxName)+1 {
			t.Fatalf("%d bytes: %d pieces that make another path", n, len(parts))
		}
		for _, p := range parts {
			if p == "" || len(p) > kernelPath {
				t.Fatalf("%d bytes: a piece of %d", n, len(p))
			}
		}
	}
}

// TestDeepPath stats, lists, opens and reads around every boundary of what the
// kernel takes at once, and at the bound.
func TestDeepPath(t *testing.T) {
	r := newRig(t)
	for _, n := range []int{kernelPath - 2, kernelPath - 1, kernelPath, kernelPath + 1, 3*kernelPath + 7, store.MaxPath - 2} {
		dir := storetest.DeepPath(n)
		at := makeDeep(t, r.dir, dir)
		writeAt(t, at, "f", content(uint64(n), 1, fileSize))
		if err := unix.Symlinkat("f", at, "l"); err != nil {
			t.Fatal(err)
		}
		listed, err := r.list(dir)
		if err != nil || len(listed) != 2 || string(listed["l"].Symlink) != "f" {
			t.Errorf("%d bytes: listed %v, %v", n, listed, err)
			continue
		}
		attr, err := r.stat(dir + "/f")
		if err != nil || !bytes.Equal(attr.Version, listed["f"].Version) {
			t.Errorf("%d bytes: %v, %v", n, attr, err)
		}
		o := r.open(dir + "/f")
		o.holds(t, uint64(n), 1, fileSize)
		o.Close()
		for path, want := range map[string]unix.Errno{"/l": unix.ELOOP, "/x": unix.ENOENT, "/l/f": unix.ENAMETOOLONG} {
			if n < store.MaxPath-2 && want == unix.ENAMETOOLONG {
				want = unix.ELOOP
			}
			if _, err := r.tryOpen(dir + path); !errors.Is(err, want) {
				t.Errorf("%d bytes, %s: %v, not %v", n, path, err, want)
			}
		}
	}
}

// TestDeepRacingMove moves a directory in the middle of a deep path out of the
// export and back, and puts a file into it while it is outside: that is never
// opened.
func TestDeepRacingMove(t *testing.T) {
	r := newRig(t)
	outside := filepath.Join(t.TempDir(), "outside")
	first := storetest.DeepPath(kernelPath - 100)
	const second = "moves"
	rest := storetest.DeepPath(kernelPath - 300)
	up := makeDeep(t, r.dir, first)
	leaf := makeDeep(t, r.dir, first+"/"+second+"/"+rest)
	writeAt(t, leaf, "public", content(1, 1, 64))
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		stopped <- func() error {
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				if err := unix.Renameat(up, second, unix.AT_FDCWD, outside); err != nil {
					return err
				}
				fd, err := unix.Openat(leaf, "secret", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
				if err != nil {
					return err
				}
				unix.Close(fd)
				if err := errors.Join(unix.Unlinkat(leaf, "secret", 0), unix.Renameat(unix.AT_FDCWD, outside, up, second)); err != nil {
					return err
				}
			}
		}()
	}()
	d := r.tree
	path := first + "/" + second + "/" + rest
	opened := 0
	for tries := 0; opened < 300 && tries < 100_000; tries++ {
		if fd, err := d.openPath([]byte(path + "/secret")); err == nil {
			unix.Close(fd)
			t.Fatal("a file that was only outside of the export was opened")
		}
		if fd, err := d.openPath([]byte(path + "/public")); err == nil {
			unix.Close(fd)
			opened++
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if opened == 0 {
		t.Error("the directory was never where it belongs")
	}
	os.RemoveAll(outside)
}
