package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
	"hbmfs/transport/tcp"
)

// crowded is a target with little of everything, that listens, and its log.
func crowded(t *testing.T) (r *rig, addr string, log *logBuffer) {
	t.Helper()
	r, log = newRigWith(t, Config{Planes: []transport.NewPlane{tcp.NewPlane, devmemtcp.NewPlane}}), new(logBuffer)
	events := logging.NewLimiter(logging.New(log))
	t.Cleanup(events.Close)
	b := r.target.bounds
	for l, all := range map[*limits.Limit]int64{
		b.sessions: 64, b.greeting: 64, b.control: 128, b.data.Connections: 64, b.files.limit: 32, b.digests: maxDigests, b.calls: 8,
	} {
		l.All, l.Log = all, events
	}
	r.write("f", 1, 1, fileSize)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.target.Serve(t.Context(), l) }()
	return r, l.Addr().String(), log
}

// from dials as another host would.
func from(ctx context.Context, host, addr string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	return d.DialContext(ctx, "tcp", addr)
}

// client is who calls a target from a host, over a connection of his own.
func client(t *testing.T, host, addr string) wire.ControlClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return from(ctx, host, addr) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return wire.NewControlClient(conn)
}

// TestMountFits: with few descriptors, too, one mount may make its connections all
// at once.
func TestMountFits(t *testing.T) {
	for descriptors, connections := range map[int64]int{32: 4, 256: 16, 1024: tcp.MaxConnections, 1 << 20: tcp.MaxConnections} {
		b := newBounds(descriptors, nil)
		for _, l := range []*limits.Limit{b.greeting, b.data.Connections} {
			for range connections {
				if _, err := l.Take("mount", 1); err != nil {
					t.Errorf("of %d descriptors: %v", descriptors, err)
					break
				}
			}
		}
		if b.files.limit.All < descriptors/4 {
			t.Errorf("of %d descriptors, %d are for files", descriptors, b.files.limit.All)
		}
	}
}

const (
	greedyHost, modestHost = "127.0.0.2", "127.0.0.3"
	soon                   = 5 * time.Second
)

// start opens a session.
func start(t *testing.T, c wire.ControlClient) (transport.Session, error) {
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	reply, err := c.OpenSession(ctx, &wire.OpenSessionRequest{Protocol: wire.Protocol})
	if err != nil {
		return transport.Session{}, err
	}
	s := transport.Session{ID: transport.SessionID(reply.Session), Secret: transport.Secret(reply.Secret)}
	s.Connections, s.Timeout = 1, soon
	events, err := c.Events(t.Context())
	if err == nil {
		err = events.Send(&wire.EventsRequest{Session: s.ID[:]})
	}
	if err == nil {
		_, err = events.Header()
	}
	return s, err
}

// modest has another client do all that a mount does, at once.
func modest(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c := client(t, modestHost, addr)
	s, err := start(t, c)
	if err != nil {
		t.Fatalf("another's session: %v", err)
	}
	ask := opens("d", "f", 1, 1)
	opened, err := do(ctx, c, s.ID[:], ask)
	if err != nil {
		t.Fatalf("another's open: %v", err)
	}
	s.Addr = addr
	link, err := tcp.New(false).Dial(ctx, s)
	if err != nil {
		t.Fatalf("another's connection: %v", err)
	}
	defer link.Close()
	want := content(1, 1, fileSize)
	ref := refOf(ask, opened)
	got, r := link.Read(ctx, ref, 4096, 4096)
	if r.Err != nil {
		t.Fatalf("another's read: %v", r.Err)
	}
	defer got.Release()
	if !bytes.Equal(got.Bytes(), want[4096:8192]) {
		t.Error("another's read: wrong bytes")
	}
	d, err := c.Digest(ctx, &wire.DigestRequest{Session: s.ID[:], Handle: ref.Handle, Version: ref.Version[:], Length: fileSize})
	if sum := sha256.Sum256(want); err != nil || !bytes.Equal(d.Sha256, sum[:]) {
		t.Errorf("another's digest: %v", err)
	}
}

// told checks how a greedy client is refused, and what the log says.
func told(t *testing.T, err error, code codes.Code, what string, log *logBuffer) {
	t.Helper()
	for _, part := range []string{"too many " + what, greedyHost, "; "} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in the refusal: %v", part, err)
		}
	}
	if code != codes.OK && status.Code(err) != code {
		t.Errorf("refused with %v", status.Code(err))
	}
	if n := strings.Count(log.String(), `msg="refused: too many `+what); n != 1 {
		t.Errorf("%d lines of the log say so", n)
	}
}

func TestOneClientTakesSessions(t *testing.T) {
	r, addr, log := crowded(t)
	c := client(t, greedyHost, addr)
	for range r.target.bounds.sessions.All / 2 {
		if _, err := start(t, c); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		_, err := start(t, c)
		told(t, err, codes.FailedPrecondition, "sessions", log)
	}
	modest(t, addr)
}

// TestOneClientTakesConnections has them idle: they never open a session.
func TestOneClientTakesConnections(t *testing.T) {
	r, addr, log := crowded(t)
	control := r.target.bounds.control
	for n := range control.All / 2 {
		c, err := from(t.Context(), greedyHost, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		for end := time.Now().Add(patience); control.Used() <= n; time.Sleep(time.Millisecond) { // a stranger until then
			if time.Now().After(end) {
				t.Fatalf("%d control connections of %d", control.Used(), n+1)
			}
		}
	}
	_, err := start(t, client(t, greedyHost, addr))
	told(t, err, codes.Aborted, "control connections", log)
	modest(t, addr)
}

// TestOneClientTakesStrangers: what says nothing makes room for what does, also of
// the same host.
func TestOneClientTakesStrangers(t *testing.T) {
	r, addr, log := crowded(t)
	var oldest net.Conn
	magics := [][4]byte{tcp.Magic, devmemtcp.HeadMagic, devmemtcp.DataMagic}
	for i := range 2 * r.target.bounds.greeting.All {
		c, err := from(t.Context(), greedyHost, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m := magics[int(i)%len(magics)]
		c.Write(m[:])
		if oldest == nil {
			oldest = c
		}
	}
	oldest.SetReadDeadline(time.Now().Add(greetTimeout / 2))
	if n, err := oldest.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest made no room: %d bytes, %v", n, err)
	}
	if _, err := start(t, client(t, greedyHost, addr)); err != nil {
		t.Errorf("a mount of the same host: %v", err)
	}
	if text := log.String(); !strings.Contains(text, "too many connections that have not said") || !strings.Contains(text, greedyHost) {
		t.Errorf("the log: %s", text)
	}
	modest(t, addr)
}

// TestOneClientTakesFiles: what others have open too is counted once, and the next
// who has it pays for it.
func TestOneClientTakesFiles(t *testing.T) {
	r, addr, log := crowded(t)
	c := client(t, greedyHost, addr)
	var sessions [2]transport.Session
	for i := range sessions {
		var err error
		if sessions[i], err = start(t, c); err != nil {
			t.Fatal(err)
		}
	}
	most := int(r.target.bounds.files.limit.All / 2)
	for i := range most + 1 {
		r.write("g"+itoa(i), uint64(i), 1, fileSize)
	}
	open := func(s transport.Session, i int) (*wire.Answer, error) {
		return do(t.Context(), c, s.ID[:], opens("d", "g"+itoa(i), uint64(i+1), 1))
	}
	for _, s := range sessions {
		for i := range most {
			if _, err := open(s, i); err != nil {
				t.Fatalf("file %d: %v", i, err)
			}
		}
	}
	_, err := open(sessions[0], most)
	told(t, err, codes.Unknown, "open files", log)
	if errno(err) != uint32(unix.EUSERS) {
		t.Errorf("errno %d", errno(err))
	}
	r.target.session(sessions[0].ID).end("test")
	if _, err := open(sessions[1], most); errno(err) != uint32(unix.EUSERS) {
		t.Errorf("while another session has them: %v", err)
	}
	modest(t, addr)
	r.target.session(sessions[1].ID).end("test")
	for r.target.bounds.files.limit.Used() > 1 { // the modest one's
		time.Sleep(time.Millisecond)
	}
}

func TestOneClientTakesDataConnections(t *testing.T) {
	r, addr, log := crowded(t)
	all := int(r.target.bounds.data.Connections.All)
	s, err := start(t, client(t, greedyHost, addr))
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = addr
	for range all / 2 {
		link, err := tcp.New(false).Dial(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		defer link.Close()
	}
	_, err = tcp.New(false).Dial(t.Context(), s)
	if !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("refused with %v", err)
	}
	told(t, err, codes.OK, "data connections", log)
	modest(t, addr)
}

// TestOneClientTakesDigests asks for 900 at once of a large file.
func TestOneClientTakesDigests(t *testing.T) {
	r, addr, log := crowded(t)
	const size = 64 << 20
	r.write("large", 2, 1, size)
	c := client(t, greedyHost, addr)
	s, err := start(t, c)
	if err != nil {
		t.Fatal(err)
	}
	ask := opens("d", "large", 1, 1)
	opened, err := do(t.Context(), c, s.ID[:], ask)
	if err != nil {
		t.Fatal(err)
	}
	ref := refOf(ask, opened)
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error, 900)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range 900 {
		wg.Go(func() {
			_, err := c.Digest(ctx, &wire.DigestRequest{Session: s.ID[:], Handle: ref.Handle, Version: ref.Version[:], Length: size})
			if errno(err) == uint32(unix.EAGAIN) {
				refused <- err
			}
		})
	}
	select {
	case err := <-refused:
		told(t, err, codes.Unknown, "digests", log)
	case <-time.After(patience):
		t.Fatal("none is refused")
	}
	began := time.Now()
	modest(t, addr)
	if took := time.Since(began); took > 5*time.Second { // 11 without a bound
		t.Errorf("another's work took %v", took)
	}
}

// TestOneClientTakesCalls asks for lists of a directory, and takes none of them.
func TestOneClientTakesCalls(t *testing.T) {
	r, addr, _ := crowded(t)
	if err := os.Mkdir(r.path("large"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 4000 {
		r.write("large/"+itoa(i), 1, 1, 0)
	}
	c := client(t, greedyHost, addr)
	s, err := start(t, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	most := int(r.target.bounds.calls.All / 2)
	for range 8 * most {
		if _, err := c.List(ctx, &wire.ListRequest{Session: s.ID[:], Dataset: []byte("d"), Path: []byte("large")}); err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if n := openAs(t, r.path("large")); n > most {
			t.Fatalf("the target has the directory open %d times, want %d", n, most)
		}
	}
	modest(t, addr)
	cancel()
	stat, end := context.WithTimeout(t.Context(), soon)
	defer end()
	if _, err := do(stat, c, s.ID[:], stats("d", "f")); err != nil {
		t.Errorf("after its lists: %v", err)
	}
	for r.target.bounds.calls.Used() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// openAs counts the descriptors of this process that are of path.
func openAs(t *testing.T, path string) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && to == path {
			n++
		}
	}
	return n
}

// TestClientsMeetTheirBounds, and never that of the process, which one can use up
// for others.
func TestClientsMeetTheirBounds(t *testing.T) {
	for _, descriptors := range []int64{1024, 20_000, 1 << 20} {
		b := newBounds(descriptors, nil)
		sum := b.files.limit.All + b.control.All + b.data.Connections.All + b.greeting.All
		if direct, calls := descriptors/16, 2*b.calls.All; sum+direct+calls > descriptors {
			t.Errorf("%d descriptors, where %d are promised, and %d and %d taken", descriptors, sum, direct, calls)
		}
		if store := descriptors - descriptors/8; b.files.limit.All+b.calls.All > store { // see dir.Files
			t.Errorf("of %d descriptors %d are for open files, and the store opens %d", descriptors, b.files.limit.All, store)
		}
	}
}
