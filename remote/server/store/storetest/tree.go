package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"syscall"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// testList has a directory that does not come at once.
func testList(f *fixture) {
	const entries, mostAtOnce = 10_000, 4096
	for i := range entries {
		f.put(fmt.Sprintf("d/entry-%05d", i), 1, 1, 0)
	}
	found := make(map[string]*wire.Attr)
	keep := func(page []*wire.Entry) error {
		if len(page) > mostAtOnce {
			f.Errorf("%d entries at once", len(page))
		}
		for _, e := range page {
			if found[string(e.Name)] != nil {
				f.Errorf("%q is listed twice", e.Name)
			}
			found[string(e.Name)] = e.Attr
		}
		return nil
	}
	if err := f.tree.List(f.Context(), []byte("d"), -1, keep); err != nil || len(found) != entries {
		f.Fatalf("%d entries, %v", len(found), err)
	}
	one := f.stat("d/entry-04711")
	if listed := found["entry-04711"]; string(listed.Version) != string(one.Version) || listed.Ino != one.Ino {
		f.Errorf("listed %v, stat says %v", listed, one)
	}
	clear(found)
	if err := f.tree.List(f.Context(), []byte("d"), entries-1, keep); !errors.Is(err, store.ErrTooMany) || len(found) > 0 {
		f.Errorf("one too many: %d entries, %v", len(found), err)
	}
	all := 0
	count := func(page []*wire.Entry) error { all += len(page); return nil }
	if err := f.tree.List(f.Context(), []byte("d"), entries, count); err != nil || all != entries {
		f.Errorf("as many as may be: %d entries, %v", all, err)
	}
	enough := errors.New("enough")
	if err := f.tree.List(f.Context(), []byte("d"), -1, func([]*wire.Entry) error { return enough }); err != enough {
		f.Errorf("the caller's own error: %v", err)
	}
}

func testNames(f *fixture) {
	names := []string{"plain", "with space", "\xff\xfe not UTF-8", "new\nline", "-dash", "back\\slash", "colon:", "...", strings.Repeat("n", store.MaxName)}
	for i, name := range names {
		path := "dir \xfe/" + name
		f.put(path, uint64(i), 1, 100)
		f.holds(f.open(path), uint64(i), 1, 0, 100)
		if attr := f.stat(path); attr.Size != 100 || attr.Mode&syscall.S_IFMT != syscall.S_IFREG {
			f.Errorf("%q: %v", path, attr)
		}
	}
	var listed []string
	err := f.tree.List(f.Context(), []byte("dir \xfe"), -1, func(page []*wire.Entry) error {
		for _, e := range page {
			listed = append(listed, string(e.Name))
		}
		return nil
	})
	slices.Sort(listed)
	if slices.Sort(names); err != nil || !slices.Equal(listed, names) {
		f.Errorf("listed %q, %v", listed, err)
	}
	for _, dir := range []string{"", "dir \xfe"} {
		if attr := f.stat(dir); attr.Mode&syscall.S_IFMT != syscall.S_IFDIR {
			f.Errorf("%q: %v", dir, attr)
		}
	}
}

// testBadNames asks, in every way, for what is not there or is no name.
func testBadNames(f *fixture) {
	f.put("dir/file", 1, 1, 8)
	for path, want := range map[string]error{
		"none":                            store.ErrNotExist,
		"dir/none":                        store.ErrNotExist,
		"none/none":                       store.ErrNotExist,
		"dir/file/x":                      store.ErrNotDir,
		"..":                              store.ErrBadName,
		"dir/../dir":                      store.ErrBadName,
		"./dir":                           store.ErrBadName,
		"/dir":                            store.ErrBadName,
		"dir/":                            store.ErrBadName,
		"dir//file":                       store.ErrBadName,
		"a\x00b":                          store.ErrBadName,
		strings.Repeat("n", 256):          store.ErrTooLong,
		DeepPath(store.MaxPath):           store.ErrNotExist,
		DeepPath(store.MaxPath + 1):       store.ErrTooLong,
		"dir/" + strings.Repeat("n", 256): store.ErrTooLong,
	} {
		_, statErr := f.tree.Stat(f.Context(), []byte(path))
		o, _, openErr := f.tree.Open(f.Context(), []byte(path))
		if openErr == nil {
			o.Close()
		}
		listErr := f.tree.List(f.Context(), []byte(path), -1, func([]*wire.Entry) error { return nil })
		for what, err := range map[string]error{"stat": statErr, "open": openErr, "list": listErr} {
			if !errors.Is(err, want) {
				f.Errorf("%s %.40q: %v, not %v", what, path, err, want)
			}
		}
	}
	if _, _, err := f.tree.Open(f.Context(), []byte("dir")); !errors.Is(err, store.ErrIsDir) {
		f.Errorf("a directory is opened: %v", err)
	}
	if err := f.tree.List(f.Context(), []byte("dir/file"), -1, nil); !errors.Is(err, store.ErrNotDir) {
		f.Errorf("a file is listed: %v", err)
	}
}

// testReplace: another tree in the place is told, and found by who looks.
func testReplace(f *fixture) {
	f.put("f", 1, 1, 8)
	told := make(chan store.Tree, 1)
	f.follow(func(now store.Tree, why error) {
		if why != nil {
			f.Error(why)
			return
		}
		told <- now
	})
	if err := f.store.Look(f.Context()); err != nil || len(told) > 0 {
		f.Errorf("without a change: %v, and %d other trees", err, len(told))
	}
	if err := f.storage.Replace(); err != nil {
		f.Fatal(err)
	}
	if err := f.store.Look(f.Context()); err != nil {
		f.Error(err)
	}
	if len(told) != 1 {
		f.Fatal("who has looked is not told of another tree")
	}
	now := <-told
	defer now.Close()
	if _, err := now.Stat(f.Context(), []byte("f")); !errors.Is(err, store.ErrNotExist) {
		f.Errorf("a file of the old tree in the new one: %v", err)
	}
	if now.Info().Root == f.tree.Info().Root || now.Info().Kind != wire.Dataset_DIRECTORY {
		f.Errorf("another tree is %+v, as %+v", now.Info(), f.tree.Info())
	}
}

// testClosed: a tree that is closed is not used, and what was open lives on.
func testClosed(f *fixture) {
	f.put("f", 1, 1, 8)
	o := f.open("f")
	if st, err := f.tree.Statfs(f.Context()); err != nil || st.Bsize == 0 {
		f.Errorf("statfs: %v, %v", st, err)
	}
	f.tree.Close()
	_, statErr := f.tree.Stat(f.Context(), nil)
	_, _, openErr := f.tree.Open(f.Context(), []byte("f"))
	listErr := f.tree.List(f.Context(), nil, -1, nil)
	_, statfsErr := f.tree.Statfs(f.Context())
	for what, err := range map[string]error{"stat": statErr, "open": openErr, "list": listErr, "statfs": statfsErr} {
		if !errors.Is(err, store.ErrClosed) {
			f.Errorf("%s: %v", what, err)
		}
	}
	f.holds(o, 1, 1, 0, 8)
}
