package remote_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"hbmfs/fs/uapi"
	"hbmfs/remote"
	"hbmfs/remote/control"
	"hbmfs/remote/namespace"
	"hbmfs/remote/server"
	"hbmfs/remote/server/store/dir"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/transporttest"
)

var errShort = errors.New("a read was cut short within the file")

// TestWholeWay uses every call once, over loopback and within the process.
func TestWholeWay(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	if err := os.Symlink("to\xff", n.path("link")); err != nil {
		t.Fatal(err)
	}
	local := n.config()
	local.DialControl = n.target.DialLocal
	local.Candidates = use(inproc.New(n.target))
	for path, cfg := range map[uapi.Path]remote.Config{uapi.PathStaged: n.config(), uapi.PathHost: local} {
		t.Run(path.String(), func(t *testing.T) {
			r := connect(t, cfg)
			checkNames(t, r)
			f := open(t, r, 1)
			if ok, why := f.Settled(); !ok {
				t.Errorf("unsettled: %s", why)
			}
			checkReads(t, f)
			mem := newRegion(2 * fileSize)
			if err := r.Attach(t.Context(), mem); err != nil {
				t.Fatal(err)
			}
			err := fetch(f, mem, 100, 4096, 100_000)
			if err == nil {
				err = transporttest.Check(mem.Mapped[4096:104_096], tag(1, 1), 100)
			}
			if err != nil {
				t.Error(err)
			}
			if err := r.Detach(mem); err != nil {
				t.Error(err)
			}
			s := r.Stats()
			if s.Bytes[path] < 100_000 || s.Errors != 0 || s.Sessions != 1 || s.Link.Requests < s.Requests {
				t.Errorf("%+v", s)
			}
		})
	}
}

func checkNames(t *testing.T, r *remote.Target) {
	t.Helper()
	if d := r.Datasets(); len(d) != 1 || d[0] != (namespace.Dataset{Name: "d", Kind: namespace.Directory}) {
		t.Errorf("datasets %+v", d)
	}
	attr, err := r.Stat(t.Context(), "d", name(1))
	if err != nil || attr.Size != fileSize || attr.Mode&syscall.S_IFMT != syscall.S_IFREG {
		t.Errorf("stat: %+v, %v", attr, err)
	}
	entries, _, err := r.List(t.Context(), "d", "")
	if err != nil || len(entries) != 2 {
		t.Errorf("list: %+v, %v", entries, err)
	}
	for _, e := range entries {
		if e.Name == name(1) && e.Attr.Version != attr.Version || e.Name == "link" && e.Attr.Symlink != "to\xff" {
			t.Errorf("listed %+v", e)
		}
	}
	if st, err := r.Statfs(t.Context(), "d"); err != nil || st.Bsize == 0 || st.Blocks == 0 {
		t.Errorf("statfs: %+v, %v", st, err)
	}
}

func checkReads(t *testing.T, f *remote.File) {
	t.Helper()
	for _, c := range []struct {
		off int64
		n   int
	}{{0, 1}, {0, 4096}, {1, 4097}, {fileSize - 1, 1}, {77, fileSize - 77}} {
		if err := read(t.Context(), f, 1, 1, c.off, c.n); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for off, want := range map[int64]int{fileSize - 10: 10, fileSize: 0, fileSize + 1: 0, 1<<63 - 1: 0} {
		b, err := f.Read(t.Context(), off, 4096)
		if err != nil || len(b.Bytes()) != want {
			t.Errorf("at %d: %v", off, err)
			continue
		}
		b.Release()
	}
	for _, n := range []int{-1, remote.MaxRead + 1} {
		if _, err := f.Read(t.Context(), 0, n); !errors.Is(err, transport.ErrRange) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	whole := content(1, 1)
	got, err := f.Digest(t.Context(), 5, fileSize-5)
	if err != nil || got != sha256.Sum256(whole[5:]) {
		t.Errorf("digest: %x, %v", got, err)
	}
	if _, err := f.Digest(t.Context(), 1, fileSize); !errors.Is(err, transport.ErrRange) {
		t.Errorf("digest past the end: %v", err)
	}
}

func TestTargetErrors(t *testing.T) {
	n, r := mount(t, 1)
	if err := os.Symlink(name(1), n.path("link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"none":         syscall.ENOENT,
		"link":         syscall.ELOOP,
		name(1) + "/x": syscall.ENOTDIR,
		"":             syscall.EISDIR,
		"..":           syscall.EINVAL,
	} {
		if _, err := r.Open(t.Context(), "d", path, nil); !errors.Is(err, want) {
			t.Errorf("open %q: %v, not %v", path, err, want)
		}
	}
	if _, err := r.Stat(t.Context(), "other", ""); !errors.Is(err, control.ErrRefused) {
		t.Errorf("another dataset: %v", err)
	}
	if _, err := r.Open(t.Context(), "d", name(1), new(transport.Version)); !errors.Is(err, transport.ErrStale) {
		t.Errorf("another version: %v", err)
	}
	cfg := n.config()
	cfg.Datasets = []string{"none"}
	if _, err := remote.Connect(t.Context(), cfg); !errors.Is(err, control.ErrRefused) {
		t.Errorf("no such dataset: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Stat(ctx, "d", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestConnectFails(t *testing.T) {
	n := startNode(t, nil)
	cfg := n.config()
	n.kill()
	if _, err := remote.Connect(t.Context(), cfg); !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("nobody listens: %v", err)
	}
	n.start()
	cfg.Transport = "none"
	if _, err := remote.Connect(t.Context(), cfg); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("no transport: %v", err)
	}
}

func TestWriterTurnsFileStale(t *testing.T) {
	n, r := mount(t, 1)
	f, other := open(t, r, 1), open(t, r, 1)
	called := make(chan struct{}, 2)
	f.OnStale(func() { called <- struct{}{} })
	w, err := os.OpenFile(n.path(name(1)), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if len(called) != 1 || !f.Stale() || !other.Stale() {
		t.Error("the writer went on before the mount knew")
	}
	other.OnStale(func() { called <- struct{}{} })
	if len(called) != 2 {
		t.Error("not called at once for a file that is stale already")
	}
	if err := read(t.Context(), f, 1, 1, 0, 4096); !errors.Is(err, transport.ErrStale) {
		t.Errorf("read: %v", err)
	}
	if _, err := f.Digest(t.Context(), 0, 1); !errors.Is(err, transport.ErrStale) {
		t.Errorf("digest: %v", err)
	}
	again := open(t, r, 1)
	if ok, why := again.Settled(); ok || why == "" {
		t.Errorf("settled with a writer: %v %q", ok, why)
	}
}

// TestCloseIsBatched closes many files at once, and then asks the target's
// process what it has open.
func TestCloseIsBatched(t *testing.T) {
	const files = 400
	n := startNode(t, nil)
	for i := range files {
		w, err := os.Create(fmt.Sprintf("%s/%d", n.dir, i))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close() // a file that has a writer is not kept open
		if _, err := w.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	r := connect(t, n.config())
	before := descriptors(t)
	var open []*remote.File
	for i := range files {
		f, err := r.Open(t.Context(), "d", fmt.Sprint(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	if got := descriptors(t) - before; got != files {
		t.Errorf("%d descriptors for %d files", got, files)
	}
	calls := r.Stats().RoundTrips
	for _, f := range open {
		f.Close()
	}
	until(t, "every handle is closed", func() bool { return descriptors(t) == before })
	if calls = r.Stats().RoundTrips - calls; calls >= files/2 {
		t.Errorf("%d calls to close %d files", calls, files)
	}
	if err := read(t.Context(), open[0], 0, 0, 0, 1); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

func TestPlaintextStaysOnLoopback(t *testing.T) {
	files, err := dir.NewFiles(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	for _, insecure := range []bool{false, true} {
		g, err := server.New(server.Config{Exports: []server.Export{{Name: "d", Store: files.Store(t.TempDir(), nil)}}, Insecure: insecure})
		if err != nil {
			t.Fatal(err)
		}
		l := listenAnywhere(t)
		served := make(chan error, 1)
		go func() { served <- g.Serve(t.Context(), l) }()
		if !insecure {
			if err := <-served; err == nil {
				t.Error("served in clear beyond loopback")
			}
			g.Close()
			continue
		}
		g.Close()
		if err := <-served; err != nil {
			t.Errorf("with --insecure: %v", err)
		}
	}
}
