package dir

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/server/store/dir/breaks"
	"hbmfs/transport"
)

// fakeDelegator is a kernel that has delegations, and holds nobody up. Tests break them.
type fakeDelegator struct {
	mu    sync.Mutex
	taken map[int]bool // by descriptor: whether it is held
}

func (k *fakeDelegator) take(fd int, _ *breaks.Thread) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.taken[fd] = true
	return nil
}

func (k *fakeDelegator) held(fd int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.taken[fd]
}

func (k *fakeDelegator) drop(fd int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.taken, fd)
}

func (k *fakeDelegator) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.taken)
}

// namesRig is a rig on such a kernel.
type namesRig struct {
	*rig
	kernel *fakeDelegator
	names  *names
}

func newNamesRig(t *testing.T) *namesRig {
	t.Helper()
	k := &fakeDelegator{taken: make(map[int]bool)}
	r := newRigOn(t, t.TempDir(), k)
	if why := r.tree.Undelegated(); why != "" {
		unsupported(t, why)
	}
	return &namesRig{r, k, r.files.names}
}

// make makes files, each with its directories, and waits until they are not new.
func (r *namesRig) make(names ...string) {
	r.t.Helper()
	for i, name := range names {
		if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
			r.t.Fatal(err)
		}
		r.write(name, uint64(i), 1, 8)
	}
	time.Sleep(2 * clockTick)
}

func (r *namesRig) version(name string) transport.Version {
	r.t.Helper()
	attr, err := r.stat(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return transport.Version(attr.Version)
}

func (r *namesRig) try(name string, h store.Holder) (store.Delegation, error) {
	return r.tree.Delegate(r.t.Context(), []byte(name), r.version(name), h)
}

// believer believes a name until it is told, and then until the test lets it go.
type believer struct {
	store.Delegation
	told chan struct{}
	free chan struct{}
}

func (b *believer) Revoke() func() {
	close(b.told)
	return func() { <-b.free }
}

func (b *believer) isTold() bool {
	select {
	case <-b.told:
		return true
	default:
		return false
	}
}

func (r *namesRig) believe(name string) *believer {
	r.t.Helper()
	b := &believer{told: make(chan struct{}), free: make(chan struct{})}
	d, err := r.try(name, b)
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	b.Delegation = d
	return b
}

// breaks has someone change what is at a place.
func (r *namesRig) breaks(path string) {
	r.t.Helper()
	r.names.mu.Lock()
	d := r.names.at[place{r.tree, path}]
	r.names.mu.Unlock()
	if d == nil {
		r.t.Fatalf("%q is not delegated", path)
	}
	r.kernel.mu.Lock()
	r.kernel.taken[d.fd] = false
	r.kernel.mu.Unlock()
	r.names.broken([]int{d.fd})
}

// TestNamesShare: a directory is delegated once for all names beneath it, and nothing
// for longer than names are.
func TestNamesShare(t *testing.T) {
	r := newNamesRig(t)
	r.make("a/b/f", "a/b/g", "a/c/f", "h")
	var all []*believer
	for _, c := range []struct {
		name string
		want int
	}{{"a/b/f", 4}, {"a/b/f", 4}, {"a/b/g", 5}, {"a/c/f", 7}, {"h", 8}} {
		all = append(all, r.believe(c.name))
		if n := r.kernel.count(); n != c.want || int64(n) != r.files.beside.Load() {
			t.Errorf("%s: %d delegations, %d descriptors, want %d", c.name, n, r.files.beside.Load(), c.want)
		}
	}
	for _, b := range all {
		b.Close()
	}
	if n := r.kernel.count(); n != 0 || r.files.beside.Load() != 0 || r.names.held.Load() != 0 || len(r.names.byFD) != 0 || len(r.names.at) != 0 {
		t.Errorf("%d delegations, %d descriptors are left", n, r.files.beside.Load())
	}
}

// TestNamesRecall: who changes a directory waits for the holders of all names beneath
// it, and of no others.
func TestNamesRecall(t *testing.T) {
	for path, want := range map[string][4]bool{
		"":      {true, true, true, true},
		"a":     {true, true, true, false},
		"a/b":   {true, true, false, false},
		"a/b/f": {true, false, false, false},
	} {
		r := newNamesRig(t)
		files := []string{"a/b/f", "a/b/g", "a/c/f", "h"}
		r.make(files...)
		var all []*believer
		for _, name := range files {
			all = append(all, r.believe(name))
		}
		r.breaks(path)
		for i, b := range all {
			if b.isTold() != want[i] {
				t.Errorf("%q changes: %s: told %t", path, files[i], b.isTold())
			}
			if n := r.kernel.count(); n != 8 && len(told(all[i:])) > 0 {
				t.Errorf("%q changes before all have let go", path)
			}
			close(b.free)
		}
		for _, b := range all {
			b.Close()
		}
		r.files.revoking.Wait()
		if n := r.files.beside.Load(); n != 0 {
			t.Errorf("%q: %d descriptors are left", path, n)
		}
	}
}

func told(all []*believer) (told []*believer) {
	for _, b := range all {
		if b.isTold() {
			told = append(told, b)
		}
	}
	return told
}

func until(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it takes for ever")
		}
	}
}

// TestNamesCalm: what was changed is left alone for a while.
func TestNamesCalm(t *testing.T) {
	r := newNamesRig(t)
	r.names.calm = 200 * time.Millisecond
	r.make("a/f", "a/g", "h")
	b := r.believe("a/f")
	r.breaks("a")
	close(b.free)
	b.Close()
	if _, err := r.try("a/g", b); !errors.Is(err, store.ErrUndelegated) {
		t.Errorf("at once: %v", err)
	}
	r.believe("h").Close()
	time.Sleep(r.names.calm)
	r.believe("a/g").Close()
}

// TestNamesRefused: what is no file of the tree itself is not delegated.
func TestNamesRefused(t *testing.T) {
	r := newNamesRig(t)
	r.make("a/f", "new")
	old := r.version("a/f")
	for _, err := range []error{
		os.Symlink("f", r.path("a/link")), os.Symlink("a", r.path("b")), unix.Mkfifo(r.path("a/fifo"), 0o600), os.Chmod(r.path("a/f"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]error{
		"a/f": transport.ErrStale, "a": store.ErrUndelegated, "a/link": store.ErrUndelegated, "b/f": store.ErrUndelegated,
		"a/fifo": store.ErrUndelegated, "none": store.ErrUndelegated, "none/f": store.ErrUndelegated, "": store.ErrUndelegated, "../x": store.ErrBadName,
	} {
		if _, err := r.tree.Delegate(t.Context(), []byte(name), old, nil); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
	until(t, func() bool { // a file that changed just now, if it was tried soon enough
		if err := os.Chmod(r.path("a/f"), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := r.try("a/f", nil)
		if err == nil {
			d.Close()
		}
		return errors.Is(err, store.ErrUndelegated)
	})
	r.files.budget = 28
	if _, err := r.try("new", nil); !errors.Is(err, store.ErrUndelegated) {
		t.Errorf("without room: %v", err)
	}
	if n := r.kernel.count(); n != 0 || r.files.beside.Load() != 0 {
		t.Errorf("%d delegations, %d descriptors are left", n, r.files.beside.Load())
	}
}

// TestNamesMounts: a mount breaks no delegation. What is mounted over is found by the
// list of mounts, and what lies behind a mount is not delegated.
func TestNamesMounts(t *testing.T) {
	asRoot(t)
	for _, over := range []string{"a", "a/b", "a/b/f"} {
		r := newNamesRig(t)
		r.make("a/b/f", "h")
		b, other := r.believe("a/b/f"), r.believe("h")
		from := r.path(over)
		if err := unix.Mount(from, from, "", unix.MS_BIND, ""); err != nil {
			unsupported(t, "no mounts: "+err.Error())
		}
		t.Cleanup(func() { _ = unix.Unmount(from, unix.MNT_DETACH) })
		until(t, b.isTold)
		close(b.free)
		if other.isTold() {
			t.Errorf("%s is mounted over: a name elsewhere is recalled", over)
		}
		b.Close()
		other.Close()
		clear(r.names.calmed)
		if _, err := r.try("a/b/f", nil); !errors.Is(err, store.ErrUndelegated) {
			t.Errorf("behind a mount: %v", err)
		}
	}
}

// TestNamesTouched: flags of a file change its version and break no delegation: that is
// seen within a second.
func TestNamesTouched(t *testing.T) {
	r := newNamesRig(t)
	r.make("f")
	b := r.believe("f")
	f, err := os.Open(r.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		const noDump = 0x40 // FS_NODUMP_FL of include/uapi/linux/fs.h
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|noDump)
	}
	if err != nil {
		unsupported(t, "no flags of files: "+err.Error())
	}
	until(t, b.isTold)
	close(b.free)
	b.Close()
}

// TestNamesLooked: a look at what is only being delegated finds no change of it.
func TestNamesLooked(t *testing.T) {
	r := newNamesRig(t)
	r.make("a/f")
	v := r.version("a/f")
	stop := make(chan struct{})
	var looks sync.WaitGroup
	looks.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				r.names.lookAtAll()
			}
		}
	})
	for range 500 {
		h := &opened{told: make(chan struct{}, 1)}
		d, err := r.tree.Delegate(t.Context(), []byte("a/f"), v, h)
		if err != nil {
			t.Error(err)
			break
		}
		if d.Close(); len(h.told) > 0 {
			t.Error("it is recalled, and has not changed")
		}
	}
	close(stop)
	looks.Wait()
}

// TestNamesConcurrently has many delegate and give up names while directories change.
func TestNamesConcurrently(t *testing.T) {
	r := newNamesRig(t)
	r.names.calm = time.Millisecond
	files := []string{"a/b/f", "a/b/g", "a/c/f", "h"}
	r.make(files...)
	versions := make(map[string]transport.Version)
	for _, name := range files {
		versions[name] = r.version(name)
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				name := files[n%len(files)]
				h := &opened{told: make(chan struct{}, 8)}
				d, err := r.tree.Delegate(t.Context(), []byte(name), versions[name], h)
				if err == nil {
					d.Close()
				} else if !errors.Is(err, store.ErrUndelegated) {
					t.Error(err)
				}
			}
		})
	}
	for n := range 500 {
		for _, d := range r.names.all() {
			if n%3 == 0 {
				r.kernel.mu.Lock()
				if r.kernel.taken[d.fd] {
					r.kernel.taken[d.fd] = false
				}
				r.kernel.mu.Unlock()
			}
			break
		}
		r.names.lookAtAll()
		r.names.findCovered()
	}
	close(stop)
	all.Wait()
	r.files.revoking.Wait()
	if n := r.files.beside.Load(); n != 0 || len(r.names.byFD) != 0 || r.kernel.count() != 0 {
		t.Errorf("%d descriptors, %d delegations are left", n, r.kernel.count())
	}
}

func TestDelegationsCover(t *testing.T) {
	for _, fs := range []uint32{
		unix.BTRFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.NFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, zfsMagic, 0,
	} {
		if delegationsCover(fs) {
			t.Errorf("%#x", fs)
		}
	}
	if !delegationsCover(unix.EXT4_SUPER_MAGIC) || !leasesCover(unix.EXT4_SUPER_MAGIC) {
		t.Error("ext4 is not trusted")
	}
}

// TestWithoutDelegations: nothing is delegated where that is not wanted.
func TestWithoutDelegations(t *testing.T) {
	files := newFilesOf(t, &fakeDelegator{taken: make(map[int]bool)})
	files.WithoutDelegations()
	root, err := files.Store(t.TempDir(), nil).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if root.(*tree).Undelegated() == "" {
		t.Error("names are delegated")
	}
	if _, err := root.(*tree).Delegate(t.Context(), []byte("f"), transport.Version{}, nil); !errors.Is(err, store.ErrUndelegated) {
		t.Error(err)
	}
}
