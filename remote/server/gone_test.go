package server

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/remote/server/store"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestExportGone: a dataset without a root is an error, alone, until it is back.
func TestExportGone(t *testing.T) {
	r := newLiveRig(t)
	r.write("f", 2, 1, treeSize)
	m := r.mount("live", "d")
	must(t, os.RemoveAll(r.live))
	if why := m.ended(); !strings.Contains(why, "no such file") {
		t.Errorf("the session ended because %s", why)
	}
	m = r.mount("live", "d")
	_, statErr := m.stat("live", "")
	_, lookupErr := m.stat("live", "f")
	_, _, openErr := m.tryOpen("live", "f", nil)
	_, listErr := m.list("live", "")
	for what, err := range map[string]error{"stat": statErr, "lookup": lookupErr, "open": openErr, "list": listErr} {
		if errno(err) != uint32(unix.ESTALE) || !strings.Contains(err.Error(), r.live) {
			t.Errorf("%s of what is gone: %v, want ESTALE and the path", what, err)
		}
	}
	ref, _ := m.open("f")
	m.holds(ref, 2, 1, treeSize)

	makeTree(t, r.live, 2)
	m.ended()
	r.mount("live").shows(2)
}

// TestExportDeletedJustNow: before the target has looked again, a deleted tree is
// an error too.
func TestExportDeletedJustNow(t *testing.T) {
	r := newLiveRig(t)
	m := r.mount("live")
	must(t, os.RemoveAll(r.live))
	if _, err := m.stat("live", "f"); errno(err) != uint32(unix.ESTALE) && status.Code(err) != codes.Unauthenticated {
		t.Errorf("lookup: %v", err)
	}
	if entries, err := m.list("live", ""); err == nil {
		t.Errorf("listed %v", entries)
	}
}

// TestExportAwayForAMoment: a path that leads to nothing between two renames is
// not gone.
func TestExportAwayForAMoment(t *testing.T) {
	live := filepath.Join(t.TempDir(), "live")
	makeTree(t, live, 1)
	var away atomic.Bool
	r := newRig(t, named{"live", live, func(string) error {
		if away.Swap(false) {
			return unix.ENOENT
		}
		return nil
	}})
	m := r.mount("live")
	for range 5 {
		away.Store(true)
		r.mount("live").shows(1) // looks at the path
		if away.Load() {
			t.Error("a new session, and no look at the path")
		}
	}
	m.shows(1)
}

// TestExportOddName: why an export is gone travels whatever bytes its path has.
func TestExportOddName(t *testing.T) {
	live := filepath.Join(t.TempDir(), "\xff\n"+strings.Repeat("x", 200))
	makeTree(t, live, 1)
	r := newRig(t, named{name: "\xfe", path: live})
	m := r.mount("\xfe")
	must(t, os.RemoveAll(live))
	m.ended()
	m = r.mount("\xfe")
	if _, err := m.stat("\xfe", ""); errno(err) != uint32(unix.ESTALE) {
		t.Errorf("stat: %v, want ESTALE", err)
	}
}

// TestExportReserved: a new tree that has the mount's own name is not served.
func TestExportReserved(t *testing.T) {
	r := newLiveRig(t)
	m := r.mount("live", "d")
	must(t, os.Mkdir(r.live+".new", 0o755), os.Mkdir(filepath.Join(r.live+".new", store.Reserved), 0o755),
		os.Rename(r.live, r.live+".old"), os.Rename(r.live+".new", r.live))
	if why := m.ended(); !strings.Contains(why, store.Reserved) {
		t.Errorf("the session ended because %s", why)
	}
	if _, err := r.mount("live", "d").stat("d", ""); err != nil {
		t.Errorf("the other dataset: %v", err)
	}
}

// TestExportUnmounted: what a file system leaves behind where it was mounted is
// not its tree, unless there is something.
func TestExportUnmounted(t *testing.T) {
	asRoot(t)
	live := filepath.Join(t.TempDir(), "live")
	must(t, os.Mkdir(live, 0o755))
	mountTree(t, live, 1)
	r := newRig(t, named{name: "live", path: live})
	m := r.mount("live")
	m.shows(1)
	must(t, unix.Unmount(live, unix.MNT_DETACH))
	if why := m.ended(); !strings.Contains(why, "mount it again") {
		t.Errorf("the session ended because %s", why)
	}
	m = r.mount("live")
	mountTree(t, live, 2)
	m.ended()
	m = r.mount("live")
	m.shows(2)
	must(t, unix.Unmount(live, unix.MNT_DETACH))
	makeTree(t, live, 3)
	m.ended()
	r.mount("live").shows(3)
}

func mountTree(t *testing.T, at string, version uint64) {
	t.Helper()
	must(t, unix.Mount("tmpfs", at, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	makeTree(t, at, version)
}

// TestExportBlocks: a path whose file system does not answer holds up neither
// other datasets, nor a new session for long, nor the end of the target.
func TestExportBlocks(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, filepath.Join(dir, "live"), 1)
	makeTree(t, filepath.Join(dir, "stuck"), 1)
	freed := make(chan struct{})
	hold := make(chan chan struct{}, 1)
	allow := func(path string) error {
		if filepath.Base(path) == "stuck" {
			select {
			case gate := <-hold:
				<-gate
				close(freed)
			default:
			}
		}
		return nil
	}
	r := &liveRig{newRig(t, named{"live", filepath.Join(dir, "live"), allow}, named{"stuck", filepath.Join(dir, "stuck"), allow}), filepath.Join(dir, "live")}
	target := r.target
	old := r.mount("live")
	gate := make(chan struct{})
	hold <- gate
	for len(hold) > 0 {
		time.Sleep(time.Millisecond)
	}
	r.next(2)
	old.ended()
	began := time.Now()
	m := r.mount("live", "stuck")
	m.shows(2)
	if _, err := m.stat("stuck", "f"); err != nil {
		t.Errorf("what was known of it: %v", err)
	}
	must(t, target.Close())
	if took := time.Since(began); took > lookPatience+2*closeGrace {
		t.Errorf("a session and the end took %v", took)
	}
	close(gate)
	<-freed
	<-target.exports[2].done
}
