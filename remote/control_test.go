package remote_test

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hbmfs/fs/uapi"
	"hbmfs/remote"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// fakeControl is a target that answers opens as a test says, by both planes. It
// has the dataset "d", and its files hold fakeSize zeros.
type fakeControl struct {
	wire.UnimplementedControlServer
	open   func(s *fakeSession, req *wire.OpenRequest) *wire.Answer
	lose   func(*wire.Ask) bool // nil, or which asks' answers the link loses
	closed chan uint64          // nil, or gets the handles that are closed

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
	cfg.Candidates, cfg.Probe = use(emptyTransport{c}), []transport.Memory{transporttest.NewMapped(8)}
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

func (c *fakeControl) Do(_ context.Context, req *wire.DoRequest) (*wire.Answer, error) {
	return c.answer(numberOf(req.Session), req.Ask), nil
}

func (c *fakeControl) answer(session uint64, ask *wire.Ask) *wire.Answer {
	if open := ask.GetOpen(); open != nil {
		return c.open(c.session(session), open)
	}
	for _, handle := range ask.GetClose().GetHandles() {
		if c.closed != nil {
			c.closed <- handle
		}
	}
	return &wire.Answer{What: &wire.Answer_Close{Close: &wire.CloseReply{}}}
}

// opened is the answer to an open.
func opened() *wire.Answer {
	return &wire.Answer{What: &wire.Answer_Open{Open: &wire.OpenReply{
		Settled: true,
		Attr:    &wire.Attr{Size: fakeSize, Version: make([]byte, len(transport.Version{}))},
	}}}
}

// failed is the answer to an open that the target's kernel refuses.
func failed(errno syscall.Errno) *wire.Answer {
	st, err := status.New(codes.Unknown, errno.Error()).WithDetails(&wire.Errno{Errno: uint32(errno), Op: "open"})
	if err != nil {
		panic(err)
	}
	b, err := proto.Marshal(st.Proto())
	if err != nil {
		panic(err)
	}
	return &wire.Answer{Status: b}
}

// emptyTransport answers every read at once, with nothing, and has the fake answer
// calls.
type emptyTransport struct{ c *fakeControl }

func (emptyTransport) Name() string { return "empty" }

func (emptyTransport) Plan(transport.Memory) (transport.Plan, error) {
	return transport.Plan{Path: uapi.PathHost, MaxLen: 1 << 30, Align: 1}, nil
}

func (e emptyTransport) Dial(_ context.Context, s transport.Session) (transport.Link, error) {
	return &emptyLink{c: e.c, session: numberOf(s.ID[:])}, nil
}

type emptyLink struct {
	c       *fakeControl
	session uint64
	calls   sync.WaitGroup
}

func (*emptyLink) Attach(context.Context, transport.Memory) (transport.Attachment, error) {
	return attached{}, nil
}

type attached struct{}

func (attached) Plan() transport.Plan { return transport.Plan{Path: uapi.PathHost} }
func (attached) Close() error         { return nil }

func (l *emptyLink) Submit(reqs []*transport.Request) (int, error) {
	for _, r := range reqs {
		if r.Call != nil {
			l.calls.Go(func() { transporttest.End(r, transport.Result{Err: l.call(r.Call)}) })
			continue
		}
		transporttest.End(r, transport.Result{Path: uapi.PathHost})
	}
	return len(reqs), nil
}

func (l *emptyLink) call(call *transport.Call) error {
	var ask wire.Ask
	if err := proto.Unmarshal(call.Ask, &ask); err != nil {
		return err
	}
	answer := l.c.answer(l.session, &ask)
	if l.c.lose != nil && l.c.lose(&ask) {
		return transport.ErrConnLost
	}
	b, err := proto.Marshal(answer)
	call.Answer = append(call.Answer, b...)
	return err
}

func (*emptyLink) Read(_ context.Context, _ transport.FileRef, _ int64, n int) (transport.Buffer, transport.Result) {
	return emptyBuffer(n), transport.Result{Path: uapi.PathHost}
}

type emptyBuffer int

func (b emptyBuffer) Bytes() []byte { return make([]byte, b) }
func (emptyBuffer) Release()        {}

func (*emptyLink) Stats() transport.LinkStats { return transport.LinkStats{} }

func (l *emptyLink) Close() error {
	l.calls.Wait()
	return nil
}

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
	c := &fakeControl{open: func(s *fakeSession, req *wire.OpenRequest) *wire.Answer {
		if s.number > 1 && string(req.Path) == "gone" {
			return failed(syscall.ENOENT)
		}
		if i := int(s.number) - 2; i >= 0 && i < len(passing) {
			reopened.Add(1)
			return failed(passing[i])
		}
		return opened()
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
	c := &fakeControl{open: func(s *fakeSession, req *wire.OpenRequest) *wire.Answer {
		if s.number > 1 && string(req.Path) == "bad" {
			return failed(syscall.EIO)
		}
		return opened()
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

// TestChangedWhileReopened has a file change when the next session has it, and has
// not answered that yet. What is called then may attach memory.
func TestChangedWhileReopened(t *testing.T) {
	c := &fakeControl{open: func(s *fakeSession, req *wire.OpenRequest) *wire.Answer {
		if s.number == 2 {
			s.events <- &wire.Event{Id: 1, Handle: req.Handle}
			select {
			case <-s.acked:
			case <-s.gone: // the test is over
			}
		}
		return opened()
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

// TestInventedChanges has a target tell of a handle that is not open.
func TestInventedChanges(t *testing.T) {
	handle := make(chan uint64, 1)
	c := &fakeControl{open: func(_ *fakeSession, req *wire.OpenRequest) *wire.Answer {
		handle <- req.Handle
		return opened()
	}}
	r := c.connect(t, remote.Config{Timeout: patience})
	f := openAll(t, r, "file")[0]
	stale := make(chan struct{})
	f.OnStale(func() { close(stale) })
	real := <-handle
	for _, handle := range []uint64{real + 1, 0, 1 << 63, real} {
		if f.Stale() {
			t.Error("a change of another handle counts")
		}
		c.session(1).events <- &wire.Event{Handle: handle}
	}
	<-stale
	if got := r.Stats().Sessions; got != 1 {
		t.Errorf("%d sessions, not 1", got)
	}
}
