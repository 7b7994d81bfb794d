package dir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/server/store/storetest"
	"hbmfs/transport/transporttest"
)

// FuzzPath looks every path up in a real tree: what is found must lie beneath
// its root, by the kernel's own account.
func FuzzPath(f *testing.F) {
	dir := f.TempDir()
	inside := filepath.Join(dir, "export")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(inside, "sub"), 0o755),
		os.WriteFile(filepath.Join(inside, "sub", "file"), nil, 0o644),
		os.Symlink("..", filepath.Join(inside, "up")),
		os.Symlink("/", filepath.Join(inside, "slash")),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	d := newRigOf(f, inside).tree
	for _, seed := range []string{"", "sub/file", "..", "sub/../..", "/etc", "up/x", "slash/etc/passwd", "sub//file", "a\x00b", "\xff\xfe", "./sub", storetest.DeepPath(3 * kernelPath), storetest.DeepPath(2*kernelPath) + "/../../.."} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		fd, err := d.openPath(path)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		at, err := os.Readlink("/proc/self/fd/" + itoa(fd))
		if err != nil {
			t.Fatal(err)
		}
		if rel, err := filepath.Rel(inside, at); err != nil || !filepath.IsLocal(rel) {
			t.Errorf("%q led to %s", path, at)
		}
	})
}

func TestPathsStayBeneath(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.write("file", 1, 1, 64)
	for name, to := range map[string]string{
		"abs":  filepath.Join(outside, "secret"),
		"dir":  outside,
		"up":   "..",
		"self": "/proc/self/root",
		"loop": "loop",
		"fine": "file",
	} {
		if err := os.Symlink(to, r.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]error{
		"..":                                  unix.EINVAL,
		"../" + filepath.Base(r.dir):          unix.EINVAL,
		"/etc/passwd":                         unix.EINVAL,
		"/":                                   unix.EINVAL,
		"file/":                               unix.EINVAL,
		"a\x00b":                              unix.EINVAL,
		"abs":                                 unix.ELOOP,
		"fine":                                unix.ELOOP,
		"loop":                                unix.ELOOP,
		"dir/secret":                          unix.ELOOP,
		"up/x":                                unix.ELOOP,
		"self/etc/passwd":                     unix.ELOOP,
		"file/x":                              unix.ENOTDIR,
		"none":                                unix.ENOENT,
		"":                                    unix.EISDIR,
		strings.Repeat("n", 256):              unix.ENAMETOOLONG,
		strings.Repeat("n/", 2048):            unix.EINVAL,
		storetest.DeepPath(store.MaxPath):     unix.ENOENT,
		storetest.DeepPath(store.MaxPath + 1): unix.ENAMETOOLONG,
	} {
		if _, err := r.tryOpen(path); !errors.Is(err, want) {
			t.Errorf("open %q: %v, not %v", path, err, want)
		}
	}
	attr, err := r.stat("abs")
	if err != nil || string(attr.Symlink) != filepath.Join(outside, "secret") {
		t.Errorf("a symbolic link must be told, not followed: %v, %v", attr, err)
	}
	if _, err := r.stat("dir/secret"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("stat through a link: %v", err)
	}
	if _, err := r.list("dir"); err == nil {
		t.Error("listed the directory behind a link")
	}
}

// TestRacingSwap exchanges a directory with a link out of the export while it is
// opened: what opens is always the export's file.
func TestRacingSwap(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "f"), content(2, 1, 64), 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	if err := os.Mkdir(r.path("dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("dir/f", 1, 1, 64)
	if err := os.Symlink(outside, r.path("link")); err != nil {
		t.Fatal(err)
	}
	root := int(r.tree.root.Fd())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(root, "dir", root, "link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	var opened, refused int
	for opened < 200 || refused < 200 {
		fd, err := readable(r.tree, "dir/f")
		if err != nil {
			refused++
			continue
		}
		opened++
		var b [64]byte
		n, err := unix.Pread(fd, b[:], 0)
		unix.Close(fd)
		if err == nil {
			err = transporttest.Check(b[:n], tag(1, 1), 0)
		}
		if err != nil || n != len(b) {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	close(stop)
	<-stopped
}

func readable(d *tree, path string) (int, error) {
	name, err := d.openPath([]byte(path))
	if err != nil {
		return -1, err
	}
	defer unix.Close(name)
	return reopen(name)
}

// TestSwapForFIFO exchanges a file with a FIFO while it is opened: the FIFO is
// never opened, which a writer of it would notice.
func TestSwapForFIFO(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, 64)
	if err := unix.Mkfifo(r.path("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	opens, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(opens)
	if _, err := unix.InotifyAddWatch(opens, r.path("fifo"), unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	root := int(r.tree.root.Fd())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(root, "f", root, "fifo", unix.RENAME_EXCHANGE)
			}
		}
	}()
	var opened, refused int
	for opened < 20 || refused < 20 {
		o, _, err := r.tree.Open(t.Context(), []byte("f"))
		switch {
		case err == nil:
			o.Close()
			opened++
		case errors.Is(err, unix.ENXIO):
			refused++
		default:
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	if n, err := unix.Read(opens, make([]byte, 4096)); err != unix.EAGAIN {
		t.Errorf("the FIFO was opened: %d bytes of events, %v", n, err)
	}
}

func TestKernelsFilesAreRefused(t *testing.T) {
	r := newRigOf(t, "/proc")
	if _, err := r.stat("version"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.tryOpen("version"); !errors.Is(err, unix.EACCES) {
		t.Errorf("open of a file in /proc: %v", err)
	}
}
