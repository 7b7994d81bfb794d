package server

import (
	"context"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// List implements [wire.ControlServer].
func (c *control) List(req *wire.ListRequest, stream grpc.ServerStreamingServer[wire.ListPage]) error {
	s, d, err := c.find(req.Session, req.Dataset)
	if err != nil {
		return err
	}
	send := func(page *wire.ListPage) error {
		page.TermMs = s.grant()
		return stream.Send(page)
	}
	return asStatus("list", d.list(stream.Context(), req, send))
}

// Statfs implements [wire.ControlServer].
func (c *control) Statfs(ctx context.Context, req *wire.StatfsRequest) (*wire.StatfsReply, error) {
	_, d, err := c.find(req.Session, req.Dataset)
	if err != nil {
		return nil, err
	}
	reply, err := d.tree.Statfs(ctx)
	return reply, asStatus("statfs", err)
}

// Spans implements [wire.ControlServer].
func (c *control) Spans(ctx context.Context, req *wire.SpansRequest) (*wire.SpansReply, error) {
	s, err := c.findSession(req.Session)
	if err != nil {
		return nil, err
	}
	if len(req.Version) != len(transport.Version{}) {
		return nil, asStatus("spans", unix.EINVAL)
	}
	f, err := s.file(transport.FileRef{Handle: req.Handle, Version: transport.Version(req.Version)})
	if err != nil {
		return nil, asStatus("spans", err)
	}
	defer f.release()
	reply, err := f.spans(ctx, req.Offset)
	return reply, asStatus("spans", err)
}
