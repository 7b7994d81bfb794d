package tests

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs"
	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
	"hbmfs/integration/lab/agent"
	"hbmfs/integration/lab/guest"
)

// childEnv names what a re-executed test binary does instead of running tests:
// in the other guest, or as another user.
const childEnv = "HBMFS_TEST_CHILD"

var children = map[string]func(args []string) error{
	"write": writeFiles, "split": setSplit, "devmem": receiveDevmem, "plain": receivePlain, "send": sendWords,
}

func TestMain(m *testing.M) {
	do, ok := children[os.Getenv(childEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := do(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a command that re-executes the test binary, which both guests see.
func child(t *testing.T, name string, args ...string) agent.Command {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return agent.Command{Argv: append([]string{exe}, args...), Env: []string{childEnv + "=" + name}, Dir: "/"}
}

// program is hbmfs, as both guests see it.
func program(t *testing.T) string {
	t.Helper()
	guest.Required(t)
	return os.Getenv("HBMFS_BIN")
}

// The guests have their own /tmp, on a file system that grants leases.
const exportDir = "/tmp/export"

// word is what tests store at offset off of a file: two bytes of file, one of
// version, five of the word's number.
func word(file, version int, off int64) uint64 {
	return uint64(file)<<48 | uint64(version)<<40 | uint64(off>>3)
}

// writeFiles is a child. Its arguments are of the form PATH:FILE:VERSION:SIZE.
func writeFiles(args []string) error {
	for _, arg := range args {
		f := strings.Split(arg, ":")
		var n [3]int64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseInt(f[i+1], 10, 64); err != nil {
				return err
			}
		}
		data := make([]byte, 0, n[2])
		for off := int64(0); off < n[2]; off += 8 {
			data = binary.BigEndian.AppendUint64(data, word(int(n[0]), int(n[1]), off))
		}
		if err := os.MkdirAll(filepath.Dir(f[0]), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f[0], data[:n[2]], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// wrongWords returns an error that names the first wrong byte of a file's range.
func wrongWords(got []byte, file, version int, off int64) error {
	var want [8]byte
	for i := range got {
		at := off + int64(i)
		if i == 0 || at&7 == 0 {
			binary.BigEndian.PutUint64(want[:], word(file, version, at&^7))
		}
		if got[i] != want[at&7] {
			end := min(len(got), i+8)
			return fmt.Errorf("file %d version %d offset %d: % x, want % x", file, version, at, got[i:end], want[at&7:])
		}
	}
	return nil
}

// target is hbmfs serve in the other guest.
type target struct {
	peer *guest.Host
	*guest.Process
	args []string
}

// startTarget writes the files (PATH:FILE:VERSION:SIZE, below exportDir) and
// serves exportDir as data.
func startTarget(t *testing.T, files ...string) *target {
	t.Helper()
	bin := program(t)
	tg := &target{peer: guest.Peer(t), args: []string{bin, "serve", "--insecure", "--listen", guest.PeerAddr + ":7070",
		"data=" + exportDir, "more=" + exportDir}}
	tg.peer.Run(t, "rm", "-rf", exportDir)
	for i := range files {
		files[i] = exportDir + "/" + files[i]
	}
	w := tg.peer.StartCommand(t, child(t, "write", files...))
	if exit := w.Wait(t); exit != (agent.Exit{}) {
		t.Fatalf("writing files: %v\n%s", exit, w.Output())
	}
	tg.start(t)
	return tg
}

func (tg *target) start(t *testing.T) {
	t.Helper()
	tg.Process = tg.peer.Start(t, tg.args...)
	tg.WaitLine(t, "serving ")
}

// mount is hbmfs mount in this guest.
type mount struct {
	*guest.Process
	bin, dir string
	path     uapi.Path // that all bytes must take
}

// startMount mounts the other guest's datasets.
func startMount(t *testing.T, flags ...string) *mount {
	t.Helper()
	return mountFrom(t, guest.PeerAddr+":7070", flags...)
}

func mountFrom(t *testing.T, source string, flags ...string) *mount {
	t.Helper()
	m := &mount{bin: program(t), dir: filepath.Join(t.TempDir(), "mnt")}
	for dir := filepath.Dir(m.dir); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	argv := append([]string{m.bin, "mount", "--foreground"}, flags...)
	m.Process = guest.Local(t).Start(t, append(argv, source, m.dir)...)
	t.Cleanup(func() {
		m.Signal(t, syscall.SIGTERM)
		m.Wait(t)
		_ = syscall.Unmount(m.dir, syscall.MNT_DETACH) // if still there
		if t.Failed() {
			t.Logf("mount:\n%s", m.Output())
		}
	})
	m.WaitLine(t, "mounted ")
	return m
}

func (m *mount) stats(t *testing.T) fs.Stats {
	t.Helper()
	var s fs.Stats
	if err := json.Unmarshal([]byte(guest.Run(t, m.bin, "stat", "--json", m.dir)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// file is an open file of a mount, whose content is file number and version.
type file struct {
	*client.File
	number, version int
	path            uapi.Path
}

func (m *mount) open(t *testing.T, name string, number, version int) *file {
	t.Helper()
	mnt, err := client.OpenMount(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mnt.Close() })
	f, err := mnt.Open(filepath.Join(m.dir, "data", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &file{f, number, version, m.path}
}

// fetch fetches a range, checks every word in device memory, and releases it.
// It returns how many bytes were not there before, and by which path the worst
// of all came.
func (f *file) fetch(ctx context.Context, off, n int64) (*client.Lease, error) {
	r, err := f.Fetch(ctx, off, n, client.FetchOptions{})
	if err != nil {
		return nil, err
	}
	for _, s := range r.Segments {
		b, err := f.Bytes(s)
		if err == nil {
			err = wrongWords(b, f.number, f.version, s.FileOffset)
		}
		if err != nil {
			return nil, err
		}
	}
	if r.Handle != 0 {
		err = f.Release(r.Handle)
	}
	return r, err
}

// eventually polls until ok returns nil, for states that another process
// reaches in its own time.
func eventually(t *testing.T, limit time.Duration, what string, ok func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := ok()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// resources counts the kernel's RDMA objects of a kind (qp, mr, pd, cq) that
// hbmfs has in this guest.
func resources(t *testing.T, h *guest.Host, kind string) int {
	t.Helper()
	n := 0
	for line := range strings.Lines(h.Run(t, "rdma", "resource", "show", kind)) {
		if strings.Contains(line, "comm hbmfs") {
			n++
		}
	}
	return n
}
