package server

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"hbmfs/remote/server/store/dir"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/tcp"
	"hbmfs/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; reaching it is a failure.
const patience = 20 * time.Second

// unsupported skips a test that this kernel, file system or user can't run.
func unsupported(t testing.TB, why string) {
	t.Helper()
	t.Skip("unsupported: " + why)
}

func asRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unsupported(t, "needs root")
	}
}

// rig is a target that exports dir as "d", and a client of it.
type rig struct {
	t      testing.TB
	dir    string
	files  *dir.Files
	target *Server
	client wire.ControlClient
}

// named is a path, the name of its export, and what it may lead to.
type named struct {
	name, path string
	allow      func(string) error
}

func newRig(t testing.TB, more ...named) *rig {
	t.Helper()
	return newRigWith(t, Config{}, more...)
}

// newRigWith adds what a rig has to cfg.
func newRigWith(t testing.TB, cfg Config, more ...named) *rig {
	t.Helper()
	path := t.TempDir()
	files := newFiles(t)
	cfg.Exports = append(cfg.Exports, exportsOf(files, append([]named{{name: "d", path: path}}, more...)...)...)
	cfg.Planes = append(cfg.Planes, tcp.NewPlane, devmemtcp.NewPlane)
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	target, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return &rig{t: t, dir: path, files: files, target: target, client: dialLocal(t, target)}
}

func newFiles(t testing.TB) *dir.Files {
	t.Helper()
	files, err := dir.NewFiles(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(files.Close)
	return files
}

func exportsOf(files *dir.Files, all ...named) (exports []Export) {
	for _, n := range all {
		exports = append(exports, Export{n.name, files.Store(n.path, n.allow)})
	}
	return exports
}

func dialLocal(t testing.TB, target *Server) wire.ControlClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///local", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return target.DialLocal(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return wire.NewControlClient(conn)
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// write makes a file of version number version, by a new inode.
func (r *rig) write(name string, number, version uint64, size int) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), content(number, version, size), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// content is what the version of a file holds: each word names both, and its
// offset.
func content(number, version uint64, size int) []byte {
	b := make([]byte, size)
	transporttest.Fill(b, tag(number, version), 0)
	return b
}

func tag(number, version uint64) transport.FileRef {
	ref := transport.FileRef{Handle: number}
	ref.Version[8] = byte(version)
	return ref
}

// mount is a fake mount: a session that answers its events.
type mount struct {
	*rig
	id     []byte
	source transport.Source
	last   atomic.Uint64    // handle
	events chan *wire.Event // those that came, answered already
	stream grpc.BidiStreamingClient[wire.EventsRequest, wire.Event]
	lost   chan error // why events ended
}

// open starts a session with an events stream.
func (r *rig) mount(datasets ...string) *mount {
	r.t.Helper()
	m := r.session(datasets...)
	m.attach(true)
	return m
}

func (r *rig) session(datasets ...string) *mount {
	r.t.Helper()
	req := &wire.OpenSessionRequest{Protocol: wire.Protocol, Client: "test"}
	for _, d := range datasets {
		req.Datasets = append(req.Datasets, []byte(d))
	}
	reply, err := r.client.OpenSession(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	who, ok := r.target.Session(transport.SessionID(reply.Session))
	if !ok {
		r.t.Fatal("the session is not known")
	}
	return &mount{rig: r, id: reply.Session, source: who.Source, events: make(chan *wire.Event, 1<<10)}
}

// attach starts the events stream; a mount that does not answer makes writers
// wait.
func (m *mount) attach(answer bool) {
	m.t.Helper()
	m.attachIn(m.t.Context(), answer)
}

func (m *mount) attachIn(ctx context.Context, answer bool) {
	m.t.Helper()
	stream, err := m.client.Events(ctx)
	if err == nil {
		err = stream.Send(&wire.EventsRequest{Session: m.id})
	}
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.stream, m.lost = stream, make(chan error, 1)
	go func() {
		for {
			e, err := stream.Recv()
			if err != nil {
				m.lost <- err
				return
			}
			m.events <- e
			if answer {
				stream.Send(&wire.EventsRequest{Ack: e.Id})
			}
		}
	}()
}

func (m *mount) event() *wire.Event {
	m.t.Helper()
	select {
	case e := <-m.events:
		return e
	case <-time.After(patience):
		m.t.Fatal("no event came")
		return nil
	}
}

// told reports whether an event about the file has come.
func (m *mount) told(ref transport.FileRef) bool {
	for {
		select {
		case e := <-m.events:
			if e.Handle == ref.Handle {
				return true
			}
		default:
			return false
		}
	}
}

func (m *mount) list(dataset, path string) (map[string]*wire.Attr, error) {
	listed, order, err := m.listAhead(&wire.ListRequest{Dataset: []byte(dataset), Path: []byte(path)})
	if len(order) > 1 || err == nil && len(order) == 0 {
		m.t.Errorf("asked for %q, listed %q", path, order)
	}
	return listed[path], err
}

// listAhead returns all directories that are listed, and in which order they
// were complete.
func (m *mount) listAhead(req *wire.ListRequest) (listed map[string]map[string]*wire.Attr, order []string, err error) {
	req.Session = m.id
	stream, err := m.client.List(m.t.Context(), req)
	if err != nil {
		return nil, nil, err
	}
	listed = make(map[string]map[string]*wire.Attr)
	for {
		page, err := stream.Recv()
		if err != nil {
			if isEOF(err) {
				err = nil
			}
			return listed, order, err
		}
		for _, l := range page.Listings {
			path := string(l.Path)
			if slices.Contains(order, path) {
				m.t.Errorf("more of %q after its end", path)
			}
			m.addTo(listed, l)
			if l.Last {
				order = append(order, path)
			}
		}
	}
}

func (m *mount) addTo(listed map[string]map[string]*wire.Attr, l *wire.Listing) {
	found := listed[string(l.Path)]
	if found == nil {
		found = make(map[string]*wire.Attr)
		listed[string(l.Path)] = found
	}
	for _, e := range l.Entries {
		if found[string(e.Name)] != nil {
			m.t.Errorf("%q is listed twice", e.Name)
		}
		found[string(e.Name)] = e.Attr
	}
}

// read returns n bytes, read in both ways.
func (m *mount) read(ref transport.FileRef, off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	err := m.source.Read(context.Background(), ref, off, b)
	return b, err
}

// holds fails the test unless the whole file is the version of that number.
func (m *mount) holds(ref transport.FileRef, number, version uint64, size int) {
	m.t.Helper()
	got, err := m.read(ref, 0, size)
	if err == nil {
		err = transporttest.Check(got, tag(number, version), 0)
	}
	if err != nil {
		m.t.Error(err)
	}
}

// errno returns the kernel's number that came with a status.
func errno(err error) uint32 {
	for _, d := range status.Convert(err).Details() {
		if e, ok := d.(*wire.Errno); ok {
			return e.Errno
		}
	}
	return 0
}
