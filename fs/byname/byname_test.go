package byname

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/fs/creds"
	"hbmfs/remote/namespace"
	"hbmfs/transport"
)

const (
	dir  = syscall.S_IFDIR
	file = syscall.S_IFREG
	link = syscall.S_IFLNK
)

// fakeTree is a dataset by paths, and a Target. Link is in Symlink.
type fakeTree struct {
	at    map[string]namespace.Attr
	keeps map[string]transport.Version
	stats atomic.Int64
	opens atomic.Int64 // files that are open
	full  int          // opens of any version fail so often
	// Files that came to be open, were taken as they were kept, and were discarded.
	opened, reopened, discarded int
}

type fakeFile struct {
	t *fakeTree
	a namespace.Attr
}

func (f *fakeFile) Attr() namespace.Attr { return f.a }
func (f *fakeFile) Close()               { f.t.opens.Add(-1) }

func (f *fakeFile) Discard() {
	f.t.discarded++
	f.Close()
}

// reopen takes a file out of those that are kept.
func (t *fakeTree) reopen(_, path string, v transport.Version) (*fakeFile, bool) {
	if kept, ok := t.keeps[path]; !ok || kept != v {
		return nil, false
	}
	delete(t.keeps, path)
	t.opens.Add(1)
	t.reopened++
	return &fakeFile{t, namespace.Attr{Mode: file | 0o444, Version: v}}, true
}

func (t *fakeTree) Keeps(_, path string) (transport.Version, bool) {
	v, ok := t.keeps[path]
	return v, ok
}

func (t *fakeTree) Stat(_ context.Context, _, path string) (namespace.Attr, error) {
	t.stats.Add(1)
	a, ok := t.at[path]
	if !ok {
		return a, syscall.ENOENT
	}
	return a, nil
}

func (t *fakeTree) open(_ context.Context, _, path string, want *transport.Version) (*fakeFile, error) {
	a, ok := t.at[path]
	switch {
	case !ok:
		return nil, syscall.ENOENT
	case a.Mode&syscall.S_IFMT == link:
		return nil, syscall.ELOOP
	case a.Mode&syscall.S_IFMT == dir:
		return nil, syscall.EISDIR
	case want == nil && t.full > 0:
		return nil, syscall.EMFILE
	case want != nil && *want != a.Version:
		return nil, transport.ErrStale
	}
	t.opens.Add(1)
	t.opened++
	return &fakeFile{t, a}, nil
}

func (t *fakeTree) opener(base string) *Opener[*fakeFile] {
	return &Opener[*fakeFile]{
		Tree: &Paths[*fakeFile]{Target: t, Dataset: "d", Hidden: ".mine", OpenAt: t.open, Reopen: t.reopen},
		Dirs: NewDirs(time.Second), Base: base, Who: creds.Creds{UID: 7, GID: 8, Groups: []uint32{9}},
	}
}

func newFakeTree() *fakeTree {
	mode := func(m uint32) namespace.Attr { return namespace.Attr{Mode: m, UID: 1, GID: 1} }
	to := func(text string) namespace.Attr { return namespace.Attr{Mode: link | 0o777, Symlink: text} }
	return &fakeTree{at: map[string]namespace.Attr{
		"": mode(dir | 0o755), "a": mode(dir | 0o711), "a/f": mode(file | 0o444), "a/secret": mode(file | 0o400),
		"shut": mode(dir | 0o766), "shut/f": mode(file | 0o444), "f": mode(file | 0o444),
		"grp":   {Mode: file | 0o404, UID: 1, GID: 9},
		"owner": {Mode: file | 0o044, UID: 7, GID: 9},
		"down":  to("a/f"), "here": to("./f"), "dirlink": to("a"), "up": to("a/../f"), "out": to("/f"), "slash": to("f/"),
		"dot": to("a/."), "loop": to("loop"), "twice": to("down"), "gone": to("none"), "nul": to("a\x00"),
		"tmp":     {Mode: dir | 0o1777, UID: 1},
		"tmp/his": {Mode: link | 0o777, UID: 3, Symlink: "f"}, "tmp/f": mode(file | 0o444),
		"tmp/mine": {Mode: link | 0o777, UID: 7, Symlink: "f"},
		".mine":    mode(dir | 0o755), ".mine/f": mode(file | 0o444),
	}}
}

func TestOpen(t *testing.T) {
	tree := newFakeTree()
	for name, want := range map[string]error{
		"f": nil, "a/f": nil, "down": nil, "here": nil, "dirlink/f": nil, "twice": nil, "tmp/mine": nil, "tmp/f": nil,
		"a/secret": syscall.EACCES, "shut/f": syscall.EACCES, "grp": syscall.EACCES, "owner": syscall.EACCES,
		"up": syscall.EACCES, "out": syscall.EACCES, "slash": syscall.EACCES, "dot": syscall.EACCES, "tmp/his": syscall.EACCES, "nul": syscall.EACCES,
		"loop": syscall.ELOOP, "gone": syscall.ENOENT, "none": syscall.ENOENT, "none/f": syscall.ENOENT, "a": syscall.EISDIR, "dirlink": syscall.EISDIR,
		"f/f": syscall.ENOTDIR, "down/f": syscall.ENOTDIR, ".mine/f": syscall.ENOENT, ".mine": syscall.ENOENT,
		"": syscall.ENOENT, "/f": syscall.EACCES, "..": syscall.EACCES, "a/../f": syscall.EACCES, ".": syscall.EINVAL, "a//f": syscall.EINVAL,
		"f/": syscall.EINVAL, "./f": syscall.EINVAL, "f\x00": syscall.EINVAL,
		strings.Repeat("x", 256): syscall.ENAMETOOLONG, strings.Repeat("x/", 2048): syscall.ENAMETOOLONG,
	} {
		f, err := tree.opener("").Open(t.Context(), name)
		if !errors.Is(err, want) {
			t.Errorf("%.30q: %v, want %v", name, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
	if n := tree.opens.Load(); n != 0 {
		t.Errorf("%d files are open still", n)
	}
}

// TestOpenBeneath: names are beneath the directory that was passed, which must let itself
// be searched, whatever is above it.
func TestOpenBeneath(t *testing.T) {
	tree := newFakeTree()
	tree.at[""] = namespace.Attr{Mode: dir}
	for base, want := range map[string]error{"a": nil, "shut": syscall.EACCES} {
		if _, err := tree.opener(base).Open(t.Context(), "f"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", base, err, want)
		}
	}
}

// TestOpenKept: a version that is open at the target is taken if it is the one that the
// target says is there now, and where names are vouched for, said so long ago at most.
func TestOpenKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, vouched := range []bool{false, true} {
			testOpenKept(t, vouched)
		}
	})
}

func testOpenKept(t *testing.T, vouched bool) {
	tree := newFakeTree()
	o := tree.opener("")
	if vouched {
		o.Tree.IsNow = func(context.Context, *fakeFile) bool { return true }
	}
	open := func(wantStats int64, wantOpened, wantReopened int) {
		t.Helper()
		tree.keeps = map[string]transport.Version{"a/f": {1}}
		tree.stats.Store(0)
		tree.opened, tree.reopened = 0, 0
		f, err := o.Open(t.Context(), "a/f")
		if err != nil || tree.opened != wantOpened || tree.reopened != wantReopened || tree.stats.Load() != wantStats {
			t.Fatalf("vouched %t: %v, %d opened, %d reopened, %d stats", vouched, err, tree.opened, tree.reopened, tree.stats.Load())
		}
		f.Close()
	}
	is := func(v transport.Version) { tree.at["a/f"] = namespace.Attr{Mode: file | 0o444, Version: v} }
	is(transport.Version{1})
	open(3, 0, 1) // "", "a" and the file
	if vouched {
		open(0, 0, 1)
	} else {
		open(1, 0, 1)
	}
	is(transport.Version{2})
	if vouched {
		open(0, 0, 1) // as open(2) may
	} else {
		open(1, 1, 0)
	}
	time.Sleep(time.Second)
	open(3, 1, 0)
	is(transport.Version{1})
	time.Sleep(time.Second)
	open(3, 0, 1)
	if vouched {
		o.Tree.IsNow = func(context.Context, *fakeFile) bool { return false }
		open(0, 1, 1) // what changed is not taken
	}
	if n := tree.opens.Load(); n != 0 {
		t.Errorf("%d files are open still", n)
	}
}

// TestOpenFull: who opens a version may wait for room.
func TestOpenFull(t *testing.T) {
	tree := newFakeTree()
	tree.full = 1
	if _, err := tree.opener("").Open(t.Context(), "down"); err != nil {
		t.Error(err)
	}
}

// TestRefused: a file that the caller may not read is not kept open for him at the
// target, and what is open there for others stays so.
func TestRefused(t *testing.T) {
	tree := newFakeTree()
	o := tree.opener("")
	for range 2 { // first opened, then as it is kept
		if _, err := o.Open(t.Context(), "a/secret"); !errors.Is(err, syscall.EACCES) {
			t.Error(err)
		}
		tree.keeps = map[string]transport.Version{"a/secret": {}}
	}
	if tree.opened != 1 || tree.discarded != 1 || tree.reopened != 0 || tree.opens.Load() != 0 {
		t.Errorf("%d opened, %d discarded, %d reopened, %d are open", tree.opened, tree.discarded, tree.reopened, tree.opens.Load())
	}
	// By modes that are believed, where names are vouched for.
	o.Tree.IsNow = func(context.Context, *fakeFile) bool { return true }
	if _, err := o.Open(t.Context(), "a/secret"); !errors.Is(err, syscall.EACCES) || tree.opened+tree.reopened != 1 {
		t.Errorf("%v, %d opened, %d reopened", err, tree.opened, tree.reopened)
	}
}

// TestDirs: attributes are asked for once for all, and again when they are old; what
// failed, each time.
func TestDirs(t *testing.T) { synctest.Test(t, testDirs) }

func testDirs(t *testing.T) {
	d := NewDirs(time.Second)
	asked := 0
	var fails error
	ask := func() error {
		_, err := d.Stat(t.Context(), "d", "x", func(context.Context, string) (namespace.Attr, error) {
			asked++
			time.Sleep(10 * time.Millisecond)
			return namespace.Attr{}, fails
		})
		return err
	}
	for range 10 {
		go func() { _ = ask() }()
	}
	time.Sleep(500 * time.Millisecond)
	if err := ask(); err != nil || asked != 1 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	time.Sleep(500 * time.Millisecond)
	fails = syscall.EIO
	for i := range 2 {
		if err := ask(); !errors.Is(err, fails) || asked != 2+i {
			t.Errorf("asked %d times, %v", asked, err)
		}
	}
	for i := range maxDirs + 10 {
		_, _ = d.Stat(t.Context(), "d", strconv.Itoa(i), func(context.Context, string) (namespace.Attr, error) { return namespace.Attr{}, nil })
	}
	if n := len(d.known); n > maxDirs {
		t.Errorf("%d are known", n)
	}
}

// TestDirsGivenUp: who waits for one who gives up asks for himself.
func TestDirsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDirs(time.Second)
		first, giveUp := context.WithCancel(t.Context())
		stat := func(ctx context.Context, _ string) (namespace.Attr, error) {
			select {
			case <-ctx.Done():
				return namespace.Attr{}, ctx.Err()
			case <-time.After(100 * time.Millisecond):
				return namespace.Attr{Ino: 5}, nil
			}
		}
		go func() { _, _ = d.Stat(first, "d", "x", stat) }()
		synctest.Wait()
		time.AfterFunc(50*time.Millisecond, giveUp)
		if a, err := d.Stat(t.Context(), "d", "x", stat); err != nil || a.Ino != 5 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a/b", "../a", "a//b", "/", "a\x00", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		parts, err := split(name)
		if err != nil {
			return
		}
		if strings.Join(parts, "/") != name || len(name) > maxPath || strings.Contains(name, "\x00") {
			t.Fatalf("%q is %q", name, parts)
		}
		for _, p := range parts {
			if p == "" || p == "." || p == ".." || len(p) > maxComponent {
				t.Fatalf("%q has %q", name, p)
			}
		}
	})
}
