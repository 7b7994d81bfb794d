package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/printable"
)

// Limits on what one call may ask for.
const (
	maxDatasets   = 4096
	maxClientName = 256
	maxNames      = 1024    // bytes, of the datasets that a refusal lists
	maxMessage    = 1 << 20 // bytes, of a request
	maxStreams    = 1024    // of a connection
)

// control answers the gRPC calls.
type control struct {
	wire.UnimplementedControlServer
	t *Server
}

func newControl(t *Server) *grpc.Server {
	srv := grpc.NewServer(
		grpc.Creds(acceptedCreds{}),
		grpc.ConnectionTimeout(greetTimeout),
		grpc.UnaryInterceptor(t.watchUnary),
		grpc.StreamInterceptor(t.watchStream),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	wire.RegisterControlServer(srv, &control{t: t})
	return srv
}

// OpenSession implements [wire.ControlServer].
func (c *control) OpenSession(ctx context.Context, req *wire.OpenSessionRequest) (*wire.OpenSessionReply, error) {
	reply, err := c.openSession(ctx, req)
	if err != nil {
		from := infoOf(ctx).client
		c.t.log.Warn("session refused", from, "client", clientName(req), "from", from, "err", status.Convert(err).Message())
	}
	return reply, err
}

func (c *control) openSession(ctx context.Context, req *wire.OpenSessionRequest) (*wire.OpenSessionReply, error) {
	if req.Protocol != wire.Protocol {
		return nil, status.Errorf(codes.FailedPrecondition,
			"the target speaks version %d of the protocol, and the mount version %d: use the same release of hbmfs on both", wire.Protocol, req.Protocol)
	}
	chosen, err := c.t.choose(req.Datasets)
	if err != nil {
		return nil, err
	}
	if err := c.t.lookNow(ctx, chosen); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	s, err := c.t.startSession(chosen, clientName(req), infoOf(ctx).client)
	if err != nil {
		return nil, asStatus("open session", err)
	}
	reply := &wire.OpenSessionReply{Transports: c.t.transports(), Keep: c.t.bounds.mayKeep()}
	for _, f := range chosen {
		reply.Datasets = append(reply.Datasets, s.datasets[f.Name].describe())
	}
	reply.Session, reply.Secret = s.id[:], s.secret[:]
	c.t.log.Log(slog.LevelInfo, "session opened", s.client, "client", s.client, "datasets", len(chosen))
	return reply, nil
}

func clientName(req *wire.OpenSessionRequest) string {
	return printable.Cut(req.Client, maxClientName)
}

// choose returns the exports of these names, or all of them.
func (t *Server) choose(names [][]byte) ([]*export, error) {
	if len(names) == 0 {
		return t.exports, nil
	}
	if len(names) > maxDatasets {
		return nil, status.Errorf(codes.InvalidArgument, "a session may name %d datasets", maxDatasets)
	}
	var chosen []*export
	for _, name := range names {
		f := t.export(string(name))
		if f == nil {
			return nil, status.Errorf(codes.NotFound, "no dataset is called %q; there is %s", printable.Cut(string(name), store.MaxName), t.datasetNames())
		}
		chosen = append(chosen, f)
	}
	return chosen, nil
}

func (t *Server) export(name string) *export {
	for _, f := range t.exports {
		if f.Name == name {
			return f
		}
	}
	return nil
}

func (t *Server) datasetNames() string {
	names := make([]string, len(t.exports))
	for i, f := range t.exports {
		names[i] = fmt.Sprintf("%q", f.Name)
	}
	return printable.Cut(strings.Join(names, ", "), maxNames)
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
