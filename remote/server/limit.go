package server

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"hbmfs/remote/wire"
)

// watchUnary answers no call on a connection that was refused, has calls wait
// their turn, and logs what a call fails of where that is this process's own limit.
func (t *Server) watchUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	end, err := t.begin(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer end()
	reply, err := handle(ctx, req)
	t.watchStatus(err)
	return reply, err
}

// watchStream is watchUnary for streams.
func (t *Server) watchStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	end, err := t.begin(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	defer end()
	err = handle(srv, stream)
	t.watchStatus(err)
	return err
}

// begin waits for a call's turn, if it is of those that take descriptors and not
// an ask, which waits itself. Its error is a status, and else end must be called.
func (t *Server) begin(ctx context.Context, method string) (end func(), err error) {
	info := infoOf(ctx)
	if info.refused != nil {
		return nil, asStatus("call", fmt.Errorf("%w: %w", errRefused, info.refused))
	}
	switch method {
	case wire.Control_List_FullMethodName, wire.Control_Statfs_FullMethodName, wire.Control_Spans_FullMethodName:
	default:
		return func() {}, nil
	}
	end, err = t.turn(ctx, info.client)
	return end, asStatus("call", err)
}

// turn waits until the client may have one more call under way, which ends with
// end. The error is ctx's.
func (t *Server) turn(ctx context.Context, client string) (end func(), err error) {
	turn := t.bounds.calls.Join(client, 0)
	if err := turn.Wait(ctx, 1); err != nil {
		turn.Leave()
		return nil, err
	}
	return turn.Leave, nil
}

func (t *Server) watchStatus(err error) {
	if err == nil {
		return
	}
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if e, ok := detail.(*wire.Errno); ok && e.Errno != 0 {
			t.watchDescriptors(fmt.Errorf("%s (%w)", st.Message(), unix.Errno(e.Errno)))
		}
	}
}

// watchDescriptors logs an error that comes of too few descriptors.
func (t *Server) watchDescriptors(err error) {
	if !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) {
		return
	}
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) // 0 if unknown
	t.log.Warn("out of descriptors: mounts can't open more files", "", "limit", limit.Cur, "err", err,
		"remedy", "raise the limit (ulimit -n, or LimitNOFILE= in the unit), or have mounts keep fewer files open")
}
