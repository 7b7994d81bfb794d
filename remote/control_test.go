package remote_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hbmfs/remote"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// fakeControl is the control plane of a target that answers opens as a test says.
// It has the dataset "d", and its files hold fakeSize zeros.
type fakeControl struct {
	wire.UnimplementedControlServer
	open func(s *fakeSession, path string) (*wire.OpenReply, error)

	mu       sync.Mutex
	sessions []*fakeSession
}

const fakeSize = 4096

// fakeSession is a session of a fakeControl; they count from 1.
type fakeSession struct {
	number uint64
	events chan *wire.Event // what to send
	acked  chan uint64      // ids, from 1, of what was answered
	end    chan struct{}    // closed: the session is to be lost
	gone   chan struct{}    // closed: it is
}

// connect mounts the fake, with a data plane that answers at once.
func (c *fakeControl) connect(t *testing.T, cfg remote.Config) *remote.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.WaitForHandlers(true))
	wire.RegisterControlServer(srv, c)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	cfg.Addr = l.Addr().String()
	cfg.Select = use(emptyTransport{})
	return connect(t, cfg)
}

func (c *fakeControl) session(number uint64) *fakeSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[number-1]
}

func (c *fakeControl) OpenSession(context.Context, *wire.OpenSessionRequest) (*wire.OpenSessionReply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &fakeSession{
		number: uint64(len(c.sessions) + 1),
		events: make(chan *wire.Event),
		acked:  make(chan uint64, 1),
		end:    make(chan struct{}),
		gone:   make(chan struct{}),
	}
	c.sessions = append(c.sessions, s)
	return &wire.OpenSessionReply{
		Session:    sessionID(s.number),
		Secret:     make([]byte, len(transport.Secret{})),
		Datasets:   []*wire.Dataset{{Name: []byte("d")}},
		Transports: []string{emptyTransport{}.Name()},
	}, nil
}

func (c *fakeControl) Events(stream grpc.BidiStreamingServer[wire.EventsRequest, wire.Event]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s := c.session(numberOf(first.Session))
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	defer close(s.gone)
	left := make(chan struct{})
	go func() {
		s.receiveAcks(stream)
		close(left)
	}()
	for {
		select {
		case e := <-s.events:
			if err := stream.Send(e); err != nil {
				return err
			}
		case <-s.end:
			return status.Error(codes.Unavailable, "lost, as the test wants it")
		case <-left:
			return nil
		}
	}
}

// receiveAcks returns when the mount has ended the stream.
func (s *fakeSession) receiveAcks(stream grpc.BidiStreamingServer[wire.EventsRequest, wire.Event]) {
	for {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		if r.Ack != 0 {
			s.acked <- r.Ack // has room
		}
	}
}

func sessionID(number uint64) []byte {
	id := make([]byte, len(transport.SessionID{}))
	binary.LittleEndian.PutUint64(id, number)
	return id
}

func numberOf(id []byte) uint64 { return binary.LittleEndian.Uint64(id) }

func (c *fakeControl) Open(_ context.Context, req *wire.OpenRequest) (*wire.OpenReply, error) {
	return c.open(c.session(numberOf(req.Session)), string(req.Path))
}

func (c *fakeControl) Close(context.Context, *wire.CloseRequest) (*wire.CloseReply, error) {
	return &wire.CloseReply{}, nil
}

// opened is the answer to an open.
func opened(handle uint64) (*wire.OpenReply, error) {
	return &wire.OpenReply{
		Handle: handle, Settled: true,
		Attr: &wire.Attr{Size: fakeSize, Version: make([]byte, len(transport.Version{}))},
	}, nil
}

// failed is the answer to an open that the target's kernel refuses.
func failed(errno syscall.Errno) (*wire.OpenReply, error) {
	st, err := status.New(codes.Unknown, errno.Error()).WithDetails(&wire.Errno{Errno: uint32(errno), Op: "open"})
	return nil, errors.Join(err, st.Err())
}

// emptyTransport answers every request at once, with nothing.
type emptyTransport struct{}

func (emptyTransport) Name() string { return "empty" }

func (emptyTransport) Plan(transport.Memory) (transport.Plan, error) {
	return transport.Plan{Path: transport.PathHost, MaxLen: 1 << 30, Align: 1}, nil
}

func (emptyTransport) Dial(context.Context, transport.Session) (transport.Link, error) {
	return emptyLink{}, nil
}

type emptyLink struct{}

func (emptyLink) Attach(context.Context, transport.Memory) (transport.Attachment, error) {
	return emptyLink{}, nil
}

func (emptyLink) Submit(reqs []*transport.Request) (int, error) {
	for _, r := range reqs {
		r.Done(transport.Result{Path: transport.PathHost})
	}
	return len(reqs), nil
}

func (emptyLink) Stats() transport.LinkStats { return transport.LinkStats{} }
func (emptyLink) Close() error               { return nil }

// openAll opens files of the fake.
func openAll(t *testing.T, r *remote.Target, names ...string) (files []*remote.File) {
	t.Helper()
	for _, name := range names {
		f, err := r.Open(t.Context(), "d", name, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
		files = append(files, f)
	}
	return files
}

// mustRead reads a file of the fake; while the target is away it waits.
func mustRead(t *testing.T, f *remote.File) {
	t.Helper()
	b, err := f.Read(t.Context(), 0, fakeSize)
	if err != nil {
		t.Fatal(err)
	}
	b.Release()
}

// TestPassingErrors loses the session, and the next one can't open the files at
// first: they are not stale for that.
func TestPassingErrors(t *testing.T) {
	passing := []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.EAGAIN}
	var reopened atomic.Int64
	c := &fakeControl{open: func(s *fakeSession, path string) (*wire.OpenReply, error) {
		if s.number > 1 && path == "gone" {
			return failed(syscall.ENOENT)
		}
		if i := int(s.number) - 2; i >= 0 && i < len(passing) {
			reopened.Add(1)
			return failed(passing[i])
		}
		return opened(1)
	}}
	r := c.connect(t, remote.Config{Timeout: patience})
	file := openAll(t, r, "file", "gone")
	close(c.session(1).end)
	until(t, "the files are opened again", func() bool { return reopened.Load() > 0 })
	mustRead(t, file[0])
	if got := reopened.Load(); got != int64(len(passing)) || file[0].Stale() {
		t.Errorf("%d opens failed, not %d; stale: %v", got, len(passing), file[0].Stale())
	}
	if !file[1].Stale() {
		t.Error("a file that is gone is not stale")
	}
}

// TestOneBadFile has a file that can't be opened any more, though it is there.
// The others come back without it.
func TestOneBadFile(t *testing.T) {
	c := &fakeControl{open: func(s *fakeSession, path string) (*wire.OpenReply, error) {
		if s.number > 1 && path == "bad" {
			return failed(syscall.EIO)
		}
		return opened(1)
	}}
	r := c.connect(t, remote.Config{Timeout: 2 * time.Second})
	files := openAll(t, r, "good", "bad")
	close(c.session(1).end)
	until(t, "the bad file is given up", files[1].Stale)
	mustRead(t, files[0])
	if files[0].Stale() {
		t.Error("the good file is stale")
	}
}

// TestChangedWhileReopened has a file change when the next session has it, and
// the mount does not know its handle yet. What is called then may attach memory.
func TestChangedWhileReopened(t *testing.T) {
	c := &fakeControl{open: func(s *fakeSession, _ string) (*wire.OpenReply, error) {
		if s.number == 2 {
			s.events <- &wire.Event{Id: 1, Handle: 7}
			<-s.acked
		}
		return opened(7)
	}}
	r := c.connect(t, remote.Config{Timeout: patience})
	f := openAll(t, r, "file")[0]
	attached := make(chan error, 1)
	f.OnStale(func() { attached <- r.Attach(context.Background(), newRegion(fakeSize)) })
	close(c.session(1).end)
	if err := <-attached; err != nil {
		t.Error(err)
	}
	if !f.Stale() {
		t.Error("the file is not stale")
	}
}

// TestInventedChanges has a target tell of handles that it never gave: more than
// a mount should remember, while the handle of an open may be among them.
func TestInventedChanges(t *testing.T) {
	c := &fakeControl{open: func(s *fakeSession, _ string) (*wire.OpenReply, error) {
		if s.number == 1 {
			s.flood(64<<10 + 1)
			<-s.gone // the mount gives it up
		}
		return opened(7)
	}}
	r := c.connect(t, remote.Config{Timeout: patience})
	f := openAll(t, r, "file")[0]
	stale := make(chan struct{})
	f.OnStale(func() { close(stale) })
	c.session(2).events <- &wire.Event{Handle: 7}
	<-stale
	if got := r.Stats().Sessions; got != 2 {
		t.Errorf("%d sessions, not 2", got)
	}
}

// flood tells of n handles that were never given, or of fewer if the session ends.
func (s *fakeSession) flood(n int) {
	for i := range uint64(n) {
		select {
		case s.events <- &wire.Event{Handle: 1000 + i}:
		case <-s.gone:
			return
		}
	}
}
