package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hbmfs/remote/server/store"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// liveRig is a rig that exports a directory which is to be replaced, as "live".
type liveRig struct {
	*rig
	live string
}

func newLiveRig(t *testing.T) *liveRig {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live")
	makeTree(t, live, 1)
	return &liveRig{rig: newRig(t, named{name: "live", path: live}), live: live}
}

const treeSize = 1000

// makeTree makes a directory with one file, f, of that version.
func makeTree(t testing.TB, dir string, version uint64) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), content(1, version, treeSize), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// next puts a tree of that version in the place of the one that is there.
func (r *liveRig) next(version uint64) {
	r.t.Helper()
	makeTree(r.t, r.live+".new", version)
	must(r.t, os.Rename(r.live, r.live+".old"), os.Rename(r.live+".new", r.live))
}

// ended waits for the end of the session's events, and returns why it ended.
func (m *mount) ended() string {
	m.t.Helper()
	select {
	case err := <-m.lost:
		if status.Code(err) != codes.Unauthenticated {
			m.t.Errorf("events ended with %v, want %v", err, codes.Unauthenticated)
		}
		return err.Error()
	case <-time.After(patience):
		m.t.Fatal("the session goes on")
		return ""
	}
}

// shows fails the test unless the mount sees the tree of that version.
func (m *mount) shows(version uint64) {
	m.t.Helper()
	ref, _, err := m.tryOpen("live", "f", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.holds(ref, 1, version, treeSize)
}

// TestExportReplaced: those that have the old tree learn of it, and a new session
// has the new one at once.
func TestExportReplaced(t *testing.T) {
	r := newLiveRig(t)
	old := r.mount("live", "d")
	bystander := r.mount("d")
	old.shows(1)
	was := r.target.exports[1].cur
	r.next(2)
	r.mount("live").shows(2)
	if why := old.ended(); !strings.Contains(why, "replaced") {
		t.Errorf("the old session ended because %s", why)
	}
	if _, err := bystander.stat("d", ""); err != nil {
		t.Errorf("a session without the dataset: %v", err)
	}
	if _, err := was.tree.Stat(t.Context(), nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("the old root is held open: %v", err)
	}
}

// TestExportMoved: what the path leads through is replaced.
func TestExportMoved(t *testing.T) {
	for what, c := range map[string]struct {
		path    string // below a directory that has a/tree and b/tree
		replace func(dir string) error
	}{
		"link": {"live", func(dir string) error {
			return errors.Join(os.Symlink("b/tree", filepath.Join(dir, "next")), os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "live")))
		}},
		"link above": {"above/tree", func(dir string) error {
			return errors.Join(os.Symlink("b", filepath.Join(dir, "next")), os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "above")))
		}},
		"parent": {"a/tree", func(dir string) error {
			return unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "a"), unix.AT_FDCWD, filepath.Join(dir, "b"), unix.RENAME_EXCHANGE)
		}},
		"file": {"live/f", func(dir string) error {
			return errors.Join(os.Symlink("b/tree", filepath.Join(dir, "next")), os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "live")))
		}},
		"directory of a file": {"a/tree/f", func(dir string) error {
			return unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "a/tree"), unix.AT_FDCWD, filepath.Join(dir, "b/tree"), unix.RENAME_EXCHANGE)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "a"), 0o755), os.Mkdir(filepath.Join(dir, "b"), 0o755),
				os.Symlink("a/tree", filepath.Join(dir, "live")), os.Symlink("a", filepath.Join(dir, "above")))
			makeTree(t, filepath.Join(dir, "a/tree"), 1)
			makeTree(t, filepath.Join(dir, "b/tree"), 2)
			r := newRig(t, named{name: "live", path: filepath.Join(dir, c.path)})
			old := r.mount("live")
			old.shows(1)
			must(t, c.replace(dir))
			old.ended()
			r.mount("live").shows(2)
		})
	}
}
