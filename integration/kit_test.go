// Package integration tests the product as its users meet it: real processes of
// the built program, real FUSE mounts, real kills. Each test starts its own
// target and mount over loopback and takes them down again.
package integration

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs"
	"hbmfs/fs/client"
)

// bin is the program under test, built by TestMain.
var bin string

// childEnv names the function that a re-executed test binary runs instead of
// the tests: another process, perhaps of another user, that uses a mount.
const childEnv = "HBMFS_TEST_CHILD"

var children = map[string]func(args []string) error{}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	fs.RunIfBinder()
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	dir, err := os.MkdirTemp("", "hbmfs-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Other users must reach what they re-execute.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = filepath.Join(dir, "hbmfs")
	if out, err := exec.Command("go", buildArgs(bin)...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build hbmfs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// buildArgs builds the program with the race detector if the tests have it.
func buildArgs(to string) []string {
	args := []string{"build", "-o", to}
	if raceDetector() {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // or each process ends a second late
		args = append(args, "-race")
	}
	return append(args, "hbmfs/cmd/hbmfs")
}

// raceDetector reports whether the tests, and so the program, have it.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// process is a running program whose output goes to the test's log.
type process struct {
	*exec.Cmd
	t     *testing.T
	lines chan string
	done  chan struct{}
	err   error // of Wait; valid once done is closed

	mu  sync.Mutex
	log strings.Builder // guarded by mu
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, t: t, lines: make(chan string, 64), done: make(chan struct{})}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &logWriter{p}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", cmd.Args, err)
	}
	go p.read(stdout)
	t.Cleanup(func() {
		p.kill(syscall.SIGKILL)
		if strings.Contains(p.output(), "WARNING: DATA RACE") {
			t.Error("a data race")
		}
		for _, word := range librarysWords {
			if strings.Contains(p.output(), word) {
				t.Errorf("%q is no word for users", word)
			}
		}
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(cmd.Args, " "), p.output())
		}
	})
	return p
}

// librarysWords are of gRPC's vocabulary and Go's, which no process of ours may say.
var librarysWords = []string{
	"rpc error", "code = ", "desc = ", "context deadline exceeded", "transport is closing", "error reading from server",
	"server preface", "RST_STREAM", "grpc",
}

type logWriter struct{ p *process }

func (w *logWriter) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return w.p.log.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) read(stdout io.Reader) {
	scanner := bufio.NewScanner(stdout)
	for scanner.Scan() {
		fmt.Fprintln(&logWriter{p}, scanner.Text())
		select {
		case p.lines <- scanner.Text():
		default:
		}
	}
	p.err = p.Wait()
	close(p.done)
}

// kill sends a signal and waits for the end.
func (p *process) kill(sig syscall.Signal) {
	_ = p.Process.Signal(sig) // it may have ended
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Errorf("%v did not end within 20 s of %v", p.Args, sig)
	}
}

// line waits for a line of standard output that contains want.
func (p *process) line(want string) string {
	p.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case l := <-p.lines:
			if strings.Contains(l, want) {
				return l
			}
		case <-p.done:
			p.t.Fatalf("%v ended (%v) before it said %q:\n%s", p.Args, p.err, want, p.output())
		case <-timeout:
			p.t.Fatalf("%v did not say %q within 20 s:\n%s", p.Args, want, p.output())
		}
	}
}

// startTarget serves exports (NAME=PATH) and returns its address.
func startTarget(t *testing.T, listen string, exports ...string) (*process, string) {
	t.Helper()
	p := start(t, exec.Command(bin, append([]string{"serve", "--listen", listen}, exports...)...))
	l := p.line("serving ")
	return p, l[strings.LastIndex(l, " ")+1:]
}

// mount is a mounted hbmfs and the process that serves it.
type mount struct {
	*process
	dir string
}

// startMount mounts source at a new directory, in the foreground.
func startMount(t *testing.T, source string, flags ...string) *mount {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	openPath(t, dir)
	return startMountAt(t, source, dir, flags...)
}

func startMountAt(t *testing.T, source, dir string, flags ...string) *mount {
	t.Helper()
	args := append([]string{"mount", "--foreground"}, flags...)
	p := start(t, exec.Command(bin, append(args, source, dir)...))
	m := &mount{process: p, dir: dir}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // if still there
	p.line("mounted ")
	return m
}

// openPath lets other users walk to dir.
func openPath(t *testing.T, dir string) {
	t.Helper()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

func (m *mount) stats() fs.Stats {
	m.t.Helper()
	out, err := exec.Command(bin, "stat", "--json", m.dir).Output()
	if err != nil {
		m.t.Fatalf("hbmfs stat: %v", explain(err))
	}
	var s fs.Stats
	if err := json.Unmarshal(out, &s); err != nil {
		m.t.Fatalf("hbmfs stat --json: %v\n%s", err, out)
	}
	return s
}

func explain(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

// eventually polls until ok returns nil, for states that another process
// reaches in its own time.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// within fails the test if f takes longer than d.
func within(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s: not within %v", what, d)
	}
}

// child runs a registered function in another process, as uid.
func child(t *testing.T, name string, uid int, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if uid != 0 {
		exe = copyForAll(t, exe)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Dir = "/"
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

// copyForAll puts the test binary where any user can execute it.
func copyForAll(t *testing.T, exe string) string {
	t.Helper()
	to := filepath.Join(filepath.Dir(bin), "test-binary")
	if _, err := os.Stat(to); err == nil {
		return to
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// Test data is tagged: each 8-byte word tells its file, its version and its
// offset, so that wrong bytes name their origin.

func word(file, version int, off int64) uint64 {
	return uint64(file)<<48 | uint64(version)<<40 | uint64(off>>3)
}

func tagged(file, version int, off, n int64) []byte {
	first, last := off&^7, (off+n+7)&^7
	b := make([]byte, 0, last-first)
	for o := first; o < last; o += 8 {
		b = binary.BigEndian.AppendUint64(b, word(file, version, o))
	}
	return b[off-first:][:n]
}

func writeTagged(t *testing.T, path string, file, version int, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < size; off += 1 << 20 {
		if _, err := f.Write(tagged(file, version, off, min(1<<20, size-off))); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkTagged fails the test at the first wrong word, and says what it is.
func checkTagged(t *testing.T, got []byte, file, version int, off int64) {
	t.Helper()
	if err := wrongWord(got, file, version, off); err != nil {
		t.Fatal(err)
	}
}

func wrongWord(got []byte, file, version int, off int64) error {
	want := tagged(file, version, off, int64(len(got)))
	for i := range got {
		if got[i] == want[i] {
			continue
		}
		at := max(0, i-int(off+int64(i))&7)
		w := got[at:min(len(got), at+8)]
		return fmt.Errorf("file %d version %d offset %d: wrong byte %#x, want %#x; the word there is % x (file %d, version %d, word %d)",
			file, version, off+int64(i), got[i], want[i], w, tagPart(w, 0, 2), tagPart(w, 2, 1), tagPart(w, 3, 5))
	}
	return nil
}

func tagPart(w []byte, from, n int) (v uint64) {
	for i := from; i < from+n && i < len(w); i++ {
		v = v<<8 | uint64(w[i])
	}
	return v
}

// fetched is a pinned range, and a copy of what lies in device memory.
type fetched struct {
	*client.Lease
	data []byte
}

// pin fetches a range and checks that the segments are in order and add up.
func pin(t *testing.T, f *client.File, off, n int64, opts client.FetchOptions) fetched {
	t.Helper()
	r, err := tryPin(f, off, n, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryPin(f *client.File, off, n int64, opts client.FetchOptions) (fetched, error) {
	r, err := f.Fetch(context.Background(), off, n, opts)
	if err != nil {
		return fetched{}, err
	}
	got := fetched{Lease: r}
	for _, s := range r.Segments {
		b, err := f.Bytes(s)
		if err != nil {
			return fetched{}, err
		}
		if s.FileOffset != off+int64(len(got.data)) || s.Length == 0 {
			return fetched{}, fmt.Errorf("segment %+v does not follow the %d bytes before it", s, len(got.data))
		}
		got.data = append(got.data, b...)
	}
	if int64(len(got.data)) != r.Fetched || (r.Handle == 0) != (r.Fetched == 0) {
		return fetched{}, fmt.Errorf("handle %d, %d bytes fetched, %d in segments", r.Handle, r.Fetched, len(got.data))
	}
	return got, nil
}

// fetchAll fetches [off, off+n) through as many FETCHes as it takes and returns
// a copy of the bytes in device memory, with everything released again.
func fetchAll(t *testing.T, path string, off, n int64) []byte {
	t.Helper()
	b, err := tryFetchAll(path, off, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tryFetchAll(path string, off, n int64) ([]byte, error) {
	fetch, err := openToFetch(path, off, n)
	if err != nil {
		return nil, err
	}
	return fetch()
}

// openToFetch opens a file; fetch is fetchAll of it, and closes it.
func openToFetch(path string, off, n int64) (fetch func() ([]byte, error), err error) {
	m, err := client.OpenMount(path)
	if err != nil {
		return nil, err
	}
	f, err := m.Open(path)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return func() ([]byte, error) {
		defer m.Close()
		defer f.Close()
		return fetchFrom(f, off, n)
	}, nil
}

// fetchFrom is fetchAll of an open file.
func fetchFrom(f *client.File, off, n int64) ([]byte, error) {
	var all []byte
	for end := off + n; off < end; {
		r, err := tryPin(f, off, end-off, client.FetchOptions{})
		if err != nil {
			return nil, err
		}
		all = append(all, r.data...)
		if err := f.Release(r.Handle); err != nil {
			return nil, err
		}
		if r.Cursor == 0 {
			break
		}
		off = r.Cursor
	}
	return all, nil
}
