package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/cache"
	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// pinReport is what scripts read of `hbmfs pin --json`, unpin and evict.
type pinReport struct {
	Files  int64
	Failed int64
	Bytes  int64
	Total  int64 `json:"total_bytes"`
	Path   string
	Reason string
	Error  string
	Budget struct {
		UID  int
		Held int64 `json:"held_bytes"`
		All  int64 `json:"budget_bytes"`
	}
}

func pinJSON(t *testing.T, args ...string) (r pinReport, code int) {
	t.Helper()
	out, code := command(t, append([]string{args[0], "--json"}, args[1:]...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("hbmfs %v --json: %v\n%s", args, err, out)
	}
	return r, code
}

// hits fetches all of a numbered file, checks it, and returns how many of its extents
// were in device memory, and how many there are.
func hits(t *testing.T, m *mount, number int) (hit, all int) {
	t.Helper()
	f := openFile(t, m.path(fmt.Sprint(number)))
	for off := int64(0); ; {
		r := pin(t, f, off, math.MaxInt64-off, client.FetchOptions{MaxSegments: 1})
		checkTagged(t, r.data, number, 1, off)
		for _, s := range r.Segments {
			all++
			if s.Hit {
				hit++
			}
		}
		must(t, f.Release(r.Handle))
		if off = r.Cursor; off == 0 {
			return hit, all
		}
	}
}

// awaitPins waits until users have pinned n extents.
func (m *mount) awaitPins(n int) cache.Pins {
	m.t.Helper()
	var got cache.Pins
	eventually(m.t, fmt.Sprintf("%d pins", n), func() error {
		if got = m.stats().Pins; got.Extents != n {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	return got
}

// TestPinCommand: what is pinned survives a scan larger than the pool, and not all of what
// is not pinned any more does.
func TestPinCommand(t *testing.T) {
	src := t.TempDir()
	must(t, os.Mkdir(filepath.Join(src, "dir"), 0o755))
	writeNumbered(t, src, 1, 2*extent+100)
	writeNumbered(t, filepath.Join(src, "dir"), 2, extent)
	writeNumbered(t, src, 3, 30*extent)
	for via, source := range sources(t, src) {
		m := startMount(t, source, small(8)...)
		r, code := pinJSON(t, "pin", m.path("1"), m.path("dir"))
		if code != 0 || r.Files != 2 || r.Failed != 0 || r.Bytes != 3*extent+100 || r.Total != r.Bytes || r.Path == "" || r.Reason == "" || r.Budget.All != 4*extent || r.Budget.Held < r.Bytes {
			t.Errorf("%s: exit code %d, %+v", via, code, r)
		}
		hits(t, m, 3)
		if hit, all := hits(t, m, 1); hit != all {
			t.Errorf("%s: %d of %d extents are hits", via, hit, all)
		}
		s := m.stats().Pins
		if len(s.Users) != 1 || s.Users[0].Budget != 4*extent || s.Users[0].Files != 2 || s.Users[0].Extents != 4 || s.Users[0].Bytes != r.Bytes {
			t.Errorf("%s: %+v", via, s)
		}
		if text, _ := command(t, "stat", m.dir); !strings.Contains(text, fmt.Sprintf("pins of uid %d", os.Geteuid())) {
			t.Errorf("%s: stat says\n%s", via, text)
		}
		if r, code := pinJSON(t, "unpin", m.path("1")); code != 0 || r.Files != 1 || r.Bytes != 2*extent+100 {
			t.Errorf("%s: exit code %d, %+v", via, code, r)
		}
		hits(t, m, 3)
		if hit, all := hits(t, m, 1); hit == all {
			t.Errorf("%s: all %d extents stay without a pin", via, hit)
		}
		if r, code := pinJSON(t, "unpin", "--all", m.path("1")); code != 0 || r.Bytes != extent {
			t.Errorf("%s: exit code %d, %+v", via, code, r)
		}
		m.awaitPins(0)
		m.awaitLeases(0)
	}
}

// TestPinLasts: pins end when their time is over.
func TestPinLasts(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	writeNumbered(t, src, 2, extent)
	m := startMount(t, src, small(8)...)
	for _, args := range [][]string{{"--for", "1s", m.path("1")}, {"--for", "100h", m.path("2")}} {
		if _, code := pinJSON(t, append([]string{"pin"}, args...)...); code != 0 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
	m.awaitPins(1)
	for _, args := range [][]string{{"--for", "0s", m.path("1")}, {"--for", "x", m.path("1")}, {}} {
		if _, code := command(t, append([]string{"pin"}, args...)...); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func init() { children["pin-file"] = pinFile }

// pinFile FILE pins a file, says so, and waits.
func pinFile(args []string) error {
	f, err := client.Open(args[0])
	if err != nil {
		return err
	}
	p, err := f.Pin(context.Background(), 0, math.MaxInt64, client.PinOptions{})
	if err != nil {
		return err
	}
	fmt.Println("pinned", p.Bytes)
	select {}
}

// TestPinOutlivesProcess: a pin is the user's, not the process's.
func TestPinOutlivesProcess(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	writeNumbered(t, src, 2, 20*extent)
	m := startMount(t, src, small(8)...)
	p := start(t, child(t, "pin-file", 0, m.path("1")))
	p.line("pinned")
	p.kill(unix.SIGKILL)
	hits(t, m, 2)
	if hit, all := hits(t, m, 1); hit != all {
		t.Errorf("%d of %d extents are hits", hit, all)
	}
	m.awaitPins(1)
}

// TestPinEndsWithChange: the pins of a file that changes end, also where no program has
// it open, and its memory is free; and so do those of one that is removed.
func TestPinEndsWithChange(t *testing.T) {
	src := t.TempDir()
	for via, source := range sources(t, src) {
		writeNumbered(t, src, 1, 3*extent)
		writeNumbered(t, src, 2, extent)
		m := startMount(t, source, small(8)...)
		if r, code := pinJSON(t, "pin", m.path("1"), m.path("2")); code != 0 || r.Files != 2 {
			t.Fatalf("%s: exit code %d, %+v", via, code, r)
		}
		writeTagged(t, filepath.Join(src, "1"), 1, 2, 3*extent)
		m.awaitPins(1)
		if s := m.stats().Cache; s.Resident.Bytes != extent {
			t.Errorf("%s: %d bytes are resident", via, s.Resident.Bytes)
		}
		checkTagged(t, fetchAll(t, m.path("1"), 0, 3*extent), 1, 2, 0)
		must(t, os.Remove(filepath.Join(src, "2")))
		m.awaitPins(0)
	}
}

// TestPinsBelongToUsers: nobody ends another's pins, or drops what he has.
func TestPinsBelongToUsers(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 2*extent)
	m := startMount(t, src, append(small(8), "--allow-other")...)
	as := func(args ...string) {
		t.Helper()
		cmd := exec.Command(bin, args...)
		cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
	as("pin", m.path("1"))
	m.awaitPins(2)
	for _, args := range [][]string{{"unpin", m.path("1")}, {"unpin", "--all", m.dir}, {"evict", m.dir}} {
		if r, code := pinJSON(t, args...); code != 0 || r.Bytes != 0 {
			t.Errorf("%q: exit code %d, %+v", args, code, r)
		}
	}
	if p := m.awaitPins(2); len(p.Users) != 1 || p.Users[0].UID != nobody {
		t.Errorf("%+v", p)
	}
	as("unpin", "--all", m.dir)
	m.awaitPins(0)
}

// TestPinNoRoom: what is more than half the pool is refused before anything is brought,
// and where less than that is left, it is told what was pinned, and what to do.
func TestPinNoRoom(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 3*extent)
	writeNumbered(t, src, 2, 3*extent)
	m := startMount(t, src, small(8)...)
	refused := func(words ...string) {
		t.Helper()
		out, err := exec.Command(bin, "pin", m.path("1"), m.path("2")).CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		for _, w := range words {
			if !strings.Contains(string(out), w) {
				t.Errorf("lacks %q: %s", w, out)
			}
		}
	}
	refused("384.0 KiB are more than", "half of the pool: 256.0 KiB", "--pool")
	if n := m.stats().Cache.Misses; n > 0 {
		t.Errorf("%d extents were brought", n)
	}
	f := openFile(t, m.path("1"))
	n, err := f.Pin(context.Background(), 0, math.MaxInt64, client.PinOptions{})
	if err != nil || n.Bytes != 3*extent || n.Path == uapi.PathNone || n.Unsettled {
		t.Errorf("%+v, %v", n, err)
	}
	n, err = openFile(t, m.path("2")).Pin(context.Background(), 0, math.MaxInt64, client.PinOptions{})
	if n.Bytes != extent || !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "unpin") {
		t.Errorf("%+v, %v", n, err)
	}
	out, err := exec.Command(bin, "pin", m.path("2")).CombinedOutput()
	for _, w := range []string{"64.0 KiB of 192.0 KiB are pinned", "256.0 KiB of the 256.0 KiB", "hbmfs unpin"} {
		if err == nil || !strings.Contains(string(out), w) {
			t.Errorf("lacks %q: %v: %s", w, err, out)
		}
	}
	if _, err := f.Pin(context.Background(), 0, 2*extent, client.PinOptions{For: time.Second}); err != nil {
		t.Errorf("what is pinned already: %v", err)
	}
	m.awaitPins(4)
}

// TestPinWritten: nothing can be pinned of a file that a writer has open.
func TestPinWritten(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	writeNumbered(t, src, 2, extent)
	m := startMount(t, src, small(8)...)
	w := mustOpen(t, filepath.Join(src, "1"), os.O_WRONLY)
	defer w.Close()
	_, err := openFile(t, m.path("1")).Pin(context.Background(), 0, extent, client.PinOptions{})
	if !errors.Is(err, unix.EAGAIN) || !strings.Contains(err.Error(), "writer") {
		t.Errorf("%v", err)
	}
	if r, code := pinJSON(t, "pin", m.dir); code != 1 || r.Files != 1 || r.Failed != 1 {
		t.Errorf("exit code %d, %+v", code, r)
	}
	m.awaitPins(1)
}

// TestEvictCommand: evict drops what nobody holds.
func TestEvictCommand(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 4*extent)
	m := startMount(t, src, small(8)...)
	hits(t, m, 1)
	f := openFile(t, m.path("1"))
	held := pin(t, f, 0, 1, client.FetchOptions{})
	if _, err := f.Pin(context.Background(), extent, 1, client.PinOptions{}); err != nil {
		t.Fatal(err)
	}
	if r, code := pinJSON(t, "evict", m.dir); code != 0 || r.Files != 1 || r.Bytes != 2*extent {
		t.Errorf("exit code %d, %+v", code, r)
	}
	checkHeldAs(t, f, held, 1)
	if hit, all := hits(t, m, 1); hit != 2 || all != 4 {
		t.Errorf("%d of %d extents are hits", hit, all)
	}
	if n, err := f.Evict(3*extent, extent); n != extent || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestPathThatIsMissing: of the paths of a command, one that is not there does not keep
// the others from being done; and where none is, scripts are told why.
func TestPathThatIsMissing(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m := startMount(t, src, small(8)...)
	for _, do := range []string{"warm", "pin", "unpin", "evict"} {
		r, code := pinJSON(t, do, m.path("nothing"), m.path("1"))
		if code != 1 || r.Files != 1 || r.Failed != 1 || r.Bytes != extent {
			t.Errorf("%s: exit code %d, %+v", do, code, r)
		}
		if do == "warm" {
			continue
		}
		if r, code := pinJSON(t, do, m.path("nothing")); code != 1 || !strings.Contains(r.Error, m.path("nothing")) {
			t.Errorf("%s of nothing: exit code %d, %+v", do, code, r)
		}
	}
	elsewhere := startMount(t, src, small(8)...)
	if _, code := command(t, "pin", m.path("1"), elsewhere.path("1")); code != 2 {
		t.Errorf("paths of two mounts: exit code %d", code)
	}
}
