package server

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
)

// dirs makes directories, and in each an empty file.
func (r *rig) dirs(paths ...string) {
	r.t.Helper()
	for _, path := range paths {
		if err := os.MkdirAll(r.path(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		r.write(filepath.Join(path, "f"), 0, 1, 0)
	}
}

// ahead lists path, running ahead.
func (m *mount) ahead(path string, entries uint32, further ...string) (map[string]map[string]*wire.Attr, []string) {
	m.t.Helper()
	req := &wire.ListRequest{Dataset: []byte("d"), Path: []byte(path), Ahead: entries}
	for _, f := range further {
		req.Further = append(req.Further, []byte(f))
	}
	listed, order, err := m.listAhead(req)
	if err != nil {
		m.t.Fatal(err)
	}
	return listed, order
}

func TestAheadOrder(t *testing.T) {
	r := newRig(t)
	r.dirs("a", "a/x", "a/y", "a/x/deep", "b", "b/z", "not UTF-8 \xff")
	m := r.mount()
	listed, order := m.ahead("a", 1000, "not UTF-8 \xff", "b")
	want := []string{"a", "a/x", "a/x/deep", "a/y", "not UTF-8 \xff", "b", "b/z"}
	if slices.Index(order, "a/y") == 1 { // the order that getdents gives is the file system's
		want = []string{"a", "a/y", "a/x", "a/x/deep", "not UTF-8 \xff", "b", "b/z"}
	}
	if !slices.Equal(order, want) {
		t.Errorf("listed %q", order)
	}
	for path, entries := range listed {
		alone, err := m.list("d", path)
		if err != nil || !slices.Equal(slices.Sorted(maps.Keys(entries)), slices.Sorted(maps.Keys(alone))) {
			t.Errorf("%q: %v ahead, %v alone, %v", path, entries, alone, err)
		}
		for name, attr := range entries {
			if alone[name] != nil && string(alone[name].Version) != string(attr.Version) {
				t.Errorf("%q in %q: %v ahead, %v alone", name, path, attr, alone[name])
			}
		}
	}
}

func TestAheadIsNotAsked(t *testing.T) {
	r := newRig(t)
	r.dirs("a/x", "b")
	if _, order := r.mount().ahead("a", 0, "b"); !slices.Equal(order, []string{"a"}) {
		t.Errorf("listed %q", order)
	}
}

// TestAheadRoom gives room for some of the directories, each of which comes
// whole.
func TestAheadRoom(t *testing.T) {
	r := newRig(t)
	r.dirs("w", "s1", "s2", "s3")
	for i := range 10 {
		r.write(fmt.Sprintf("s2/more-%d", i), 0, 1, 0)
	}
	m := r.mount()
	for room, want := range map[uint32]string{1: "w", 2: "w s1", 13: "w s1", 14: "w s1 s2", 15: "w s1 s2", 16: "w s1 s2 s3"} {
		listed, order := m.ahead("w", room, "s1", "s2", "s3")
		if got := strings.Join(order, " "); got != want || len(listed) != len(order) {
			t.Errorf("room for %d: %q", room, got)
		}
	}
}

// TestAheadBounds asks for more than any mount may get.
func TestAheadBounds(t *testing.T) {
	r := newRig(t)
	var further []string
	for i := range 2 * maxFurther {
		further = append(further, fmt.Sprintf("d%d", i))
	}
	r.dirs(append(further, "w")...)
	m := r.mount()
	most := 0
	for began := time.Now(); most < maxFurther+1 && time.Since(began) < patience; { // aheadTime may be over before
		_, order := m.ahead("w", 1<<32-1, further...)
		most = max(most, len(order))
	}
	if most != maxFurther+1 {
		t.Errorf("%d directories of %d named", most, len(further))
	}
	count := 0
	listed, _ := m.ahead("", 1<<32-1)
	for path, entries := range listed {
		if path != "" {
			count += len(entries) + 1
		}
	}
	if count > maxAhead {
		t.Errorf("%d entries ahead", count)
	}
}

// TestAheadLeavesOut names what can't be listed: the rest comes.
func TestAheadLeavesOut(t *testing.T) {
	r := newRig(t)
	r.dirs("w", "good", "closed")
	if err := os.Symlink("good", r.path("link")); err != nil {
		t.Fatal(err)
	}
	want := []string{"w", "closed", "good"}
	if os.Geteuid() != 0 {
		if err := os.Chmod(r.path("closed"), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(r.path("closed"), 0o700) })
		want = []string{"w", "good"}
	}
	bad := []string{"gone", "w/f", "link", "..", "../w", "/etc", "w//", "a\x00b", strings.Repeat("x", 300), strings.Repeat("x/", 3000) + "x", "closed", "good"}
	if _, order := r.mount().ahead("w", 1000, bad...); !slices.Equal(order, want) {
		t.Errorf("listed %q", order)
	}
}

// TestAheadWantsTheFirst: what was asked for by name has its error as ever.
func TestAheadWantsTheFirst(t *testing.T) {
	r := newRig(t)
	r.dirs("good")
	req := &wire.ListRequest{Dataset: []byte("d"), Path: []byte("gone"), Ahead: 100, Further: [][]byte{[]byte("good")}}
	if listed, _, err := r.mount().listAhead(req); errno(err) != uint32(unix.ENOENT) || len(listed) != 0 {
		t.Errorf("listed %v, %v", listed, err)
	}
}
