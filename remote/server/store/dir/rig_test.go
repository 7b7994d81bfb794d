package dir

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; reaching it is a failure.
const patience = 20 * time.Second

const fileSize = 64 << 10

// unsupported skips a test that this kernel, file system or user can't run.
func unsupported(t testing.TB, why string) {
	t.Helper()
	t.Skip("unsupported: " + why)
}

func asRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unsupported(t, "needs root")
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// rig is a tree of a directory.
type rig struct {
	t     testing.TB
	dir   string
	files *Files
	tree  *tree
}

func newRig(t testing.TB) *rig { return newRigOf(t, t.TempDir()) }

func newRigOf(t testing.TB, path string) *rig {
	t.Helper()
	return newRigOn(t, path, kernelDelegator{})
}

func newRigOn(t testing.TB, path string, kernel delegator) *rig {
	t.Helper()
	files := newFilesOf(t, kernel)
	root, err := files.Store(path, nil).Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(root.Close)
	return &rig{t, path, files, root.(*tree)}
}

func newFiles(t testing.TB) *Files { return newFilesOf(t, kernelDelegator{}) }

func newFilesOf(t testing.TB, kernel delegator) *Files {
	t.Helper()
	files, err := newFilesOn(slog.New(slog.NewTextHandler(t.Output(), nil)), kernel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(files.Close)
	return files
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// write makes a file of version number version, by a new inode.
func (r *rig) write(name string, number, version uint64, size int) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), content(number, version, size), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// content is what the version of a file holds: each word names both, and its
// offset.
func content(number, version uint64, size int) []byte {
	b := make([]byte, size)
	transporttest.Fill(b, tag(number, version), 0)
	return b
}

func tag(number, version uint64) transport.FileRef {
	ref := transport.FileRef{Handle: number}
	ref.Version[8] = byte(version)
	return ref
}

func openForWriting(t testing.TB, path string) *os.File {
	t.Helper()
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// opened is an object, and its holder, who lets every writer go on.
type opened struct {
	store.Object
	attr *wire.Attr
	told chan struct{} // gets a value for each change
}

func (o *opened) Revoke() func() {
	o.told <- struct{}{}
	return func() {}
}

// tryOpen opens what the test may close; its end does.
func (r *rig) tryOpen(path string) (*opened, error) {
	obj, attr, err := r.tree.Open(r.t.Context(), []byte(path))
	if err != nil {
		return nil, err
	}
	o := &opened{obj, attr, make(chan struct{}, 2)}
	if !o.Hold(o) {
		r.t.Errorf("%s changed at once", path)
	}
	return o, nil
}

func (r *rig) open(path string) *opened {
	r.t.Helper()
	o, err := r.tryOpen(path)
	if err != nil {
		r.t.Fatalf("open %q: %v", path, err)
	}
	return o
}

// openSettled opens a file that must be leased.
func (r *rig) openSettled(path string) *opened {
	r.t.Helper()
	o := r.open(path)
	if why := o.Unsettled(); why != "" {
		r.t.Fatalf("%s is not settled: %s", path, why)
	}
	return o
}

func (r *rig) stat(path string) (*wire.Attr, error) {
	return r.tree.Stat(r.t.Context(), []byte(path))
}

func (r *rig) list(path string) (map[string]*wire.Attr, error) {
	found := make(map[string]*wire.Attr)
	err := r.tree.List(r.t.Context(), []byte(path), -1, func(entries []*wire.Entry) error {
		for _, e := range entries {
			if found[string(e.Name)] != nil {
				r.t.Errorf("%q is listed twice", e.Name)
			}
			found[string(e.Name)] = e.Attr
		}
		return nil
	})
	return found, err
}

// holds fails the test unless the whole file is the version of that number.
func (o *opened) holds(t testing.TB, number, version uint64, size int) {
	t.Helper()
	got := make([]byte, size)
	err := o.Read(t.Context(), 0, got)
	if err == nil {
		err = transporttest.Check(got, tag(number, version), 0)
	}
	if err != nil {
		t.Error(err)
	}
}

func (o *opened) isStale(t testing.TB) {
	t.Helper()
	if err := o.Read(t.Context(), 0, make([]byte, 8)); !errors.Is(err, transport.ErrStale) {
		t.Errorf("read of a file that changed: %v", err)
	}
}
