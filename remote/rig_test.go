package remote_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hbmfs/remote"
	"hbmfs/remote/server"
	"hbmfs/remote/server/store"
	"hbmfs/remote/server/store/dir"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/tcp"
	"hbmfs/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; reaching it is a failure.
const patience = 20 * time.Second

const fileSize = 256 << 10

// unsupported skips a test that can't be run here.
func unsupported(t testing.TB, why string) {
	t.Helper()
	t.Skip("unsupported: " + why)
}

// node is a storage node: a target behind a listener, which can be killed and
// started again at the same address.
type node struct {
	t    testing.TB
	dir  string
	addr string
	tls  *tls.Config

	store  store.Store // nil: what is in dir
	files  *dir.Files
	target *server.Server
	socket *hardListener
	served chan error
}

func startNode(t testing.TB, secure *tls.Config) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), addr: "127.0.0.1:0", tls: secure}
	n.start()
	t.Cleanup(n.kill)
	return n
}

func (n *node) start() {
	n.t.Helper()
	var err error
	if n.files, err = dir.NewFiles(nil); err != nil {
		n.t.Fatal(err)
	}
	served := n.store
	if served == nil {
		served = n.files.Store(n.dir, nil)
	}
	n.target, err = server.New(server.Config{
		Exports:    []server.Export{{Name: "d", Store: served}},
		TLS:        n.tls,
		Planes:     []transport.NewPlane{tcp.NewPlane},
		Transports: []string{inproc.Name},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	l, err := net.Listen("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.addr = l.Addr().String()
	n.socket = &hardListener{Listener: l}
	n.served = make(chan error, 1)
	go func() { n.served <- n.target.Serve(context.Background(), n.socket) }()
}

// kill resets every connection first, so that nobody learns of the end but by
// that, and then takes the target down.
func (n *node) kill() {
	if n.target == nil {
		return
	}
	n.socket.reset()
	n.target.Close()
	n.files.Close()
	if err := <-n.served; err != nil && !errors.Is(err, net.ErrClosed) {
		n.t.Errorf("serve: %v", err)
	}
	n.target = nil
}

// hardListener remembers what it accepted.
type hardListener struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
}

func (l *hardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c.(*net.TCPConn))
	return c, nil
}

func (l *hardListener) reset() {
	l.Close()
	l.cut()
}

// cut resets what was accepted.
func (l *hardListener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.SetLinger(0)
		c.Close()
	}
	l.conns = nil
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

// write puts a new inode with a version of the file in place.
func (n *node) write(name string, number, version uint64) {
	n.t.Helper()
	if err := os.WriteFile(n.path(name)+"~", content(number, version), 0o644); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Rename(n.path(name)+"~", n.path(name)); err != nil {
		n.t.Fatal(err)
	}
}

func content(number, version uint64) []byte {
	b := make([]byte, fileSize)
	transporttest.Fill(b, tag(number, version), 0)
	return b
}

func tag(number, version uint64) transport.FileRef {
	ref := transport.FileRef{Handle: number}
	ref.Version[8] = byte(version)
	return ref
}

// config is what a mount of the node asks for by default.
func (n *node) config() remote.Config {
	return remote.Config{
		Addr:        n.addr,
		Connections: 2,
		Checksums:   true,
		Timeout:     patience,
		Candidates:  use(tcp.New(n.tls != nil)),
		Probe:       []transport.Memory{transporttest.NewMapped(8)},
		Log:         slog.New(slog.NewTextHandler(n.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// use is transports as candidates.
func use(transports ...transport.Transport) (all []transport.Candidate) {
	for _, tr := range transports {
		p, _ := tr.Plan(transporttest.NewMapped(8)) // its best path
		all = append(all, transport.Candidate{Name: tr.Name(), Path: p.Path, Transport: tr})
	}
	return all
}

func connect(t testing.TB, cfg remote.Config) *remote.Target {
	t.Helper()
	r, err := remote.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// mount starts a node with the files 1 to files, in version 1, and connects.
func mount(t testing.TB, files int) (*node, *remote.Target) {
	t.Helper()
	n := startNode(t, nil)
	for i := 1; i <= files; i++ {
		n.write(name(i), uint64(i), 1)
	}
	return n, connect(t, n.config())
}

func name(number int) string { return "file-" + string(rune('a'+number)) }

func open(t testing.TB, r *remote.Target, number int) *remote.File {
	t.Helper()
	f, err := r.Open(t.Context(), "d", name(number), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// read reads and checks a range of the version of a file.
func read(ctx context.Context, f *remote.File, number, version uint64, off int64, n int) error {
	b, err := f.Read(ctx, off, n)
	if err != nil {
		return err
	}
	defer b.Release()
	if len(b.Bytes()) != n {
		return errShort
	}
	return transporttest.Check(b.Bytes(), tag(number, version), off)
}

// region is a fake of device memory, which must be attached.
type region struct{ transporttest.Mapped }

func newRegion(size int) *region { return &region{make(transporttest.Mapped, size)} }

func (*region) Domain() transport.Domain { return transport.Domain{UID: 1, Device: 1} }

// fetch reads a range of f into the region's offset at.
func fetch(f *remote.File, r *region, off, at int64, n int) error {
	done := make(chan transport.Result, 2)
	f.Submit([]*transport.Request{{
		Off: off,
		Dst: transport.Span{Mem: r, Off: at, Len: int64(n)},
		To:  transporttest.Done(func(res transport.Result) { done <- res }),
	}})
	return (<-done).Err
}

// until waits for a state that comes by itself.
func until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !reached(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not reached: %s", what)
		}
	}
}
