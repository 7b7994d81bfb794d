package remote_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/remote/namespace"
	"hbmfs/remote/prefetch"
)

const typeMask, typeDir = syscall.S_IFMT, syscall.S_IFDIR

// grow makes a random tree below dir, and returns how many directories it has.
func grow(t testing.TB, r *rand.Rand, dir string, depth int) int {
	t.Helper()
	dirs := 1
	for i := range r.IntN(12) {
		path := filepath.Join(dir, fmt.Sprintf("%d-\xff-%d", depth, i))
		var err error
		switch kind := r.IntN(3); {
		case kind == 0 && depth > 0:
			if err = os.Mkdir(path, 0o755); err == nil {
				dirs += grow(t, r, path, depth-1)
			}
		case kind == 1:
			err = os.Symlink("to\xff", path)
		default:
			err = os.WriteFile(path, make([]byte, r.IntN(5000)), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

// compare walks the mount's tree, depth first, beside the source's.
func compare(t *testing.T, r *remote.Target, n *node, path string) {
	t.Helper()
	entries, age, err := r.List(t.Context(), "d", path)
	if err != nil || age > prefetch.MaxAge {
		t.Fatalf("%q: %v, %v old", path, err, age)
	}
	source, err := os.ReadDir(n.path(path))
	if err != nil || len(source) != len(entries) {
		t.Fatalf("%q has %d entries, not %d: %v", path, len(entries), len(source), err)
	}
	for _, e := range entries {
		below := filepath.Join(path, e.Name)
		compareAttr(t, n.path(below), &e.Attr)
		if e.Attr.Mode&typeMask == typeDir {
			compare(t, r, n, below)
		}
	}
}

func compareAttr(t *testing.T, path string, a *namespace.Attr) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	if a.Ino != st.Ino || a.Mode != st.Mode || a.Size != uint64(st.Size) || a.Mtime != (namespace.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}) || uint64(a.Nlink) != uint64(st.Nlink) {
		t.Errorf("%q: %+v, stat says %+v", path, a, st)
	}
	if link, _ := os.Readlink(path); a.Symlink != link {
		t.Errorf("%q leads to %q, not %q", path, a.Symlink, link)
	}
}

// TestWalk walks a random tree: all is there, for few calls.
func TestWalk(t *testing.T) {
	n, r := mount(t, 0)
	dirs := 0
	for seed := uint64(1); dirs < 300; seed++ {
		top := n.path(fmt.Sprint("top", seed))
		if err := os.Mkdir(top, 0o755); err != nil {
			t.Fatal(err)
		}
		dirs += grow(t, rand.New(rand.NewPCG(seed, 0)), top, 6)
	}
	before := r.Stats().RoundTrips
	compare(t, r, n, "")
	if calls := r.Stats().RoundTrips - before; calls > int64(dirs)/4 {
		t.Errorf("%d calls for %d directories", calls, dirs)
	}
}

// TestWalkers walks a tree by several at once.
func TestWalkers(t *testing.T) {
	n, r := mount(t, 0)
	grow(t, rand.New(rand.NewPCG(9, 9)), n.dir, 5)
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			compare(t, r, n, "")
		})
	}
}

// walkInto lists the root and the first of its directories, so that the other
// ones run ahead, and returns the last of them.
func walkInto(t *testing.T, n *node, r *remote.Target) (last string) {
	t.Helper()
	for i := range 5 {
		if err := os.MkdirAll(n.path(fmt.Sprintf("d%d/sub", i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	entries, _, err := r.List(t.Context(), "d", "")
	if err != nil || len(entries) != 5 {
		t.Fatal(entries, err)
	}
	if _, age, err := r.List(t.Context(), "d", entries[0].Name); age != 0 || err != nil {
		t.Fatalf("%v old, %v", age, err)
	}
	return entries[4].Name
}

// TestWalkUsesWhatCameOnce may have to try again on a machine that is so busy
// that what came ahead grows old.
func TestWalkUsesWhatCameOnce(t *testing.T) {
	until(t, "what came ahead is used, and once", func() bool {
		n, r := mount(t, 0)
		last := walkInto(t, n, r)
		var calls [2]int64
		for i := range calls {
			before := r.Stats().RoundTrips
			if entries, _, err := r.List(t.Context(), "d", last); err != nil || len(entries) != 1 || entries[0].Name != "sub" {
				t.Fatalf("%+v, %v", entries, err)
			}
			calls[i] = r.Stats().RoundTrips - before
		}
		return calls == [2]int64{0, 1}
	})
}

// TestWalkSeesChanges changes a directory that has come ahead, in several ways.
func TestWalkSeesChanges(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"entry":    func(path string) error { return os.Mkdir(filepath.Join(path, "new"), 0o755) },
		"removed":  os.RemoveAll,
		"file":     func(path string) error { return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o644)) },
		"replaced": func(path string) error { return errors.Join(os.RemoveAll(path), os.MkdirAll(path+"/other", 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, r := mount(t, 0)
			last := walkInto(t, n, r)
			if err := change(n.path(last)); err != nil {
				t.Fatal(err)
			}
			if entries, age, err := r.List(t.Context(), "d", last); isAsBefore(entries, err) && age == 0 {
				t.Error("what is new is as it was before the change")
			}
			until(t, "the change shows", func() bool {
				entries, _, err := r.List(t.Context(), "d", last)
				return !isAsBefore(entries, err)
			})
		})
	}
}

func isAsBefore(entries []namespace.Entry, err error) bool {
	return err == nil && len(entries) == 1 && entries[0].Name == "sub"
}

// TestWalkForgets leaves what came ahead until it is too old.
func TestWalkForgets(t *testing.T) {
	n, r := mount(t, 0)
	last := walkInto(t, n, r)
	changed := time.Now()
	if err := os.Mkdir(n.path(last+"/new"), 0o755); err != nil {
		t.Fatal(err)
	}
	until(t, "it is too old", func() bool { return time.Since(changed) > 2*prefetch.MaxAge })
	if entries, age, err := r.List(t.Context(), "d", last); err != nil || len(entries) != 2 || age != 0 {
		t.Errorf("%+v, %v old, %v", entries, age, err)
	}
}

// TestWalkAcrossSessions loses the session that it came in.
func TestWalkAcrossSessions(t *testing.T) {
	n, r := mount(t, 0)
	last := walkInto(t, n, r)
	n.kill()
	if err := os.Remove(n.path(last + "/sub")); err != nil {
		t.Fatal(err)
	}
	n.start()
	until(t, "there is another session", func() bool { return r.Stats().Sessions == 2 })
	if entries, age, err := r.List(t.Context(), "d", last); err != nil || len(entries) != 0 || age != 0 {
		t.Errorf("%+v, %v old, %v", entries, age, err)
	}
}
