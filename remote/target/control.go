package target

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Limits on what one call may ask for.
const (
	maxDatasets     = 4096
	maxClientName   = 256
	maxCloseHandles = 1 << 16
	maxMessage      = 1 << 20 // bytes, of a request
	maxStreams      = 1024    // of a connection
)

// control answers the gRPC calls.
type control struct {
	wire.UnimplementedControlServer
	t *Target
}

func newControl(t *Target) *grpc.Server {
	srv := grpc.NewServer(
		grpc.Creds(acceptedCreds{}),
		grpc.ConnectionTimeout(greetTimeout),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	wire.RegisterControlServer(srv, &control{t: t})
	return srv
}

// OpenSession implements [wire.ControlServer].
func (c *control) OpenSession(_ context.Context, req *wire.OpenSessionRequest) (*wire.OpenSessionReply, error) {
	reply, err := c.openSession(req)
	if err != nil {
		c.t.cfg.Log.Warn("session refused", "client", clientName(req), "err", err)
	}
	return reply, err
}

func (c *control) openSession(req *wire.OpenSessionRequest) (*wire.OpenSessionReply, error) {
	if req.Protocol != wire.Protocol {
		return nil, status.Errorf(codes.FailedPrecondition,
			"the target speaks version %d of the protocol, and the mount version %d: use the same release of hbmfs on both", wire.Protocol, req.Protocol)
	}
	chosen, err := c.t.choose(req.Datasets)
	if err != nil {
		return nil, err
	}
	reply := &wire.OpenSessionReply{
		Transports: c.t.transports(),
	}
	byName := make(map[string]*dataset, len(chosen))
	for _, d := range chosen {
		if err := d.checkReserved(); err != nil {
			return nil, status.Error(codes.FailedPrecondition, err.Error())
		}
		byName[d.name] = d
		reply.Datasets = append(reply.Datasets, &wire.Dataset{Name: []byte(d.name), Kind: d.kind, Base: []byte(d.base)})
	}
	s, err := c.t.startSession(byName, clientName(req))
	if err != nil {
		return nil, asStatus("open session", err)
	}
	reply.Session, reply.Secret = s.id[:], s.secret[:]
	c.t.cfg.Log.Info("session opened", "client", s.client, "datasets", len(chosen))
	return reply, nil
}

func clientName(req *wire.OpenSessionRequest) string {
	return req.Client[:min(len(req.Client), maxClientName)]
}

// choose returns the datasets of these names, or all of them.
func (t *Target) choose(names [][]byte) ([]*dataset, error) {
	if len(names) == 0 {
		return t.datasets, nil
	}
	if len(names) > maxDatasets {
		return nil, status.Errorf(codes.InvalidArgument, "a session may name %d datasets", maxDatasets)
	}
	var chosen []*dataset
	for _, name := range names {
		d := t.dataset(string(name))
		if d == nil {
			return nil, status.Errorf(codes.NotFound, "no dataset is called %q; there is %s", name, t.datasetNames())
		}
		chosen = append(chosen, d)
	}
	return chosen, nil
}

func (t *Target) dataset(name string) *dataset {
	for _, d := range t.datasets {
		if d.name == name {
			return d
		}
	}
	return nil
}

func (t *Target) datasetNames() string {
	names := make([]string, len(t.datasets))
	for i, d := range t.datasets {
		names[i] = fmt.Sprintf("%q", d.name)
	}
	return strings.Join(names, ", ")
}

// find returns the session of that id, and its dataset of that name.
func (c *control) find(id, name []byte) (*session, *dataset, error) {
	s, err := c.findSession(id)
	if err != nil {
		return nil, nil, err
	}
	d, err := s.dataset(name)
	if err != nil {
		return nil, nil, asStatus("find dataset", err)
	}
	return s, d, nil
}

func (c *control) findSession(id []byte) (*session, error) {
	if len(id) == len(transport.SessionID{}) {
		if s := c.t.session(transport.SessionID(id)); s != nil {
			return s, nil
		}
	}
	return nil, asStatus("find session", errNoSession)
}

// Events implements [wire.ControlServer].
func (c *control) Events(stream grpc.BidiStreamingServer[wire.EventsRequest, wire.Event]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s, err := c.findSession(first.Session)
	if err != nil {
		return err
	}
	if err := c.t.attach(s); err != nil {
		return asStatus("attach events", err)
	}
	if err := stream.SendHeader(nil); err != nil { // from here on the mount is told
		s.end("its mount is gone")
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- s.receiveAcks(stream) }()
	go func() { failed <- s.sendEvents(stream) }()
	select {
	case <-c.t.ctx.Done():
		return asStatus("events", errClosing)
	case <-s.ended:
		return asStatus("events", errNoSession)
	case err = <-failed:
	}
	if err == io.EOF {
		s.end("its mount closed it")
		return nil
	}
	s.end("its mount is gone")
	return err
}

func (s *session) sendEvents(stream grpc.BidiStreamingServer[wire.EventsRequest, wire.Event]) error {
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.out.ready:
		}
		for _, e := range s.out.take() {
			if err := stream.Send(e); err != nil {
				return err
			}
		}
	}
}

// receiveAcks returns io.EOF when the mount has closed the session.
func (s *session) receiveAcks(stream grpc.BidiStreamingServer[wire.EventsRequest, wire.Event]) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		s.out.ack(req.Ack)
	}
}

// Stat implements [wire.ControlServer].
func (c *control) Stat(_ context.Context, req *wire.StatRequest) (*wire.StatReply, error) {
	_, d, err := c.find(req.Session, req.Dataset)
	if err != nil {
		return nil, err
	}
	attr, err := d.stat(req.Path)
	if err != nil {
		return nil, asStatus("stat", err)
	}
	return &wire.StatReply{Attr: attr}, nil
}

// List implements [wire.ControlServer].
func (c *control) List(req *wire.ListRequest, stream grpc.ServerStreamingServer[wire.ListPage]) error {
	_, d, err := c.find(req.Session, req.Dataset)
	if err != nil {
		return err
	}
	return asStatus("list", d.list(req, stream.Send))
}

// Open implements [wire.ControlServer].
func (c *control) Open(ctx context.Context, req *wire.OpenRequest) (*wire.OpenReply, error) {
	s, d, err := c.find(req.Session, req.Dataset)
	if err != nil {
		return nil, err
	}
	var want *transport.Version
	switch len(req.Version) {
	case 0:
	case len(want):
		want = (*transport.Version)(req.Version)
	default:
		return nil, asStatus("open", unix.EINVAL)
	}
	reply, err := s.open(ctx, d, req.Path, want)
	if err != nil {
		return nil, asStatus("open", err)
	}
	if ctx.Err() != nil { // nobody will learn of the handle
		s.closeHandles([]uint64{reply.Handle})
	}
	return reply, nil
}

// Close implements [wire.ControlServer].
func (c *control) Close(_ context.Context, req *wire.CloseRequest) (*wire.CloseReply, error) {
	s, err := c.findSession(req.Session)
	if err != nil {
		return nil, err
	}
	if len(req.Handles) > maxCloseHandles {
		return nil, status.Errorf(codes.InvalidArgument, "a call may close %d handles", maxCloseHandles)
	}
	s.closeHandles(req.Handles)
	return &wire.CloseReply{}, nil
}

// Statfs implements [wire.ControlServer].
func (c *control) Statfs(_ context.Context, req *wire.StatfsRequest) (*wire.StatfsReply, error) {
	_, d, err := c.find(req.Session, req.Dataset)
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(d.root, &st); err != nil {
		return nil, asStatus("statfs", err)
	}
	return &wire.StatfsReply{
		Blocks:  st.Blocks,
		Bfree:   st.Bfree,
		Bavail:  st.Bavail,
		Files:   st.Files,
		Ffree:   st.Ffree,
		Bsize:   uint32(st.Bsize),
		Namelen: uint32(st.Namelen),
		Frsize:  uint32(st.Frsize),
	}, nil
}

// digestPiece is what a digest reads at once, in bytes.
const digestPiece = 1 << 20

var digestBuffers = sync.Pool{New: func() any { b := make([]byte, digestPiece); return &b }}

// Digest implements [wire.ControlServer].
func (c *control) Digest(ctx context.Context, req *wire.DigestRequest) (*wire.DigestReply, error) {
	s, err := c.findSession(req.Session)
	if err != nil {
		return nil, err
	}
	if len(req.Version) != len(transport.Version{}) {
		return nil, asStatus("digest", unix.EINVAL)
	}
	ref := transport.FileRef{Handle: req.Handle, Version: transport.Version(req.Version)}
	sum, err := s.digest(ctx, ref, req.Offset, req.Length)
	if err != nil {
		return nil, asStatus("digest", err)
	}
	return &wire.DigestReply{Sha256: sum}, nil
}

func (s *session) digest(ctx context.Context, ref transport.FileRef, off, n uint64) ([]byte, error) {
	f, err := s.file(ref)
	if err != nil {
		return nil, err
	}
	defer s.files.release(f)
	if off > uint64(f.size) || n > uint64(f.size)-off {
		return nil, fmt.Errorf("%w: %d bytes at %d of a file of %d", transport.ErrRange, n, off, f.size)
	}
	buf := *digestBuffers.Get().(*[]byte)
	defer digestBuffers.Put(&buf)
	hash := sha256.New()
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		piece := buf[:min(n, digestPiece)]
		if err := f.read(int64(off), piece, true); err != nil {
			return nil, err
		}
		hash.Write(piece)
		off += uint64(len(piece))
		n -= uint64(len(piece))
	}
	return hash.Sum(nil), nil
}
