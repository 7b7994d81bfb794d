package server

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/printable"
)

// Refusals that are not an errno.
var (
	errNoSession    = errors.New("unknown session")
	errNoDataset    = errors.New("no such dataset")
	errSecondStream = errors.New("the session has an events stream already")
	errClosing      = errors.New("the target is shutting down")
	errFull         = errors.New("the target takes no further session of this mount")
	errRefused      = errors.New("the target takes no further control connection of this mount")
)

// plain gives the code of each refusal that is not an errno: none of those whose
// text a mount does not show, because gRPC makes such statuses itself, but for
// those that say all by their code.
var plain = []struct {
	err  error
	code codes.Code
}{
	{errNoSession, codes.Unauthenticated},
	{store.ErrClosed, codes.Unauthenticated},
	{errNoDataset, codes.NotFound},
	{errSecondStream, codes.AlreadyExists},
	{errClosing, codes.Aborted},
	{errFull, codes.FailedPrecondition},
	{errRefused, codes.Aborted},
	{errRenewals, codes.Aborted},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// asStatus makes the gRPC status of err, which may be nil.
func asStatus(op string, err error) error {
	if err == nil {
		return nil
	}
	return statusOf(op, err, printable.MaxText).Err()
}

// maxWhy is how long a text may be that goes with many others, in bytes. With all
// that an answer has beside it, it is shorter than [transport.MaxCall].
const maxWhy = 512

// failed answers an ask that came to nothing.
func failed(op string, err error) *wire.Answer {
	b, marshalErr := proto.Marshal(statusOf(op, err, maxWhy).Proto())
	if marshalErr != nil {
		b, _ = proto.Marshal(status.New(codes.Internal, op).Proto())
	}
	return &wire.Answer{Status: b}
}

// statusOf makes the gRPC status of err, whose text takes about limit bytes: with
// an Errno detail if the kernel gave one, or if err is one of package transport's.
func statusOf(op string, err error, limit int) *status.Status {
	for _, p := range plain {
		if errors.Is(err, p.err) {
			return status.New(p.code, printable.Line(err.Error(), limit))
		}
	}
	errno := errnoOf(err)
	st := status.New(codeOf(errno), printable.Line(op+": "+err.Error(), limit))
	detailed, detailErr := st.WithDetails(&wire.Errno{Errno: uint32(errno), Op: op})
	if detailErr != nil {
		return status.New(codes.Internal, op)
	}
	return detailed
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	switch {
	case errors.Is(err, transport.ErrStale):
		return unix.ESTALE
	case errors.Is(err, transport.ErrUnknownFile):
		return unix.EBADF
	case errors.Is(err, transport.ErrRange):
		return unix.EINVAL
	case errors.Is(err, store.ErrWritable):
		return unix.ETXTBSY
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, limits.ErrLimit):
		return unix.EUSERS // not EMFILE: what is out is not of the process
	}
	return unix.EIO
}

func codeOf(errno unix.Errno) codes.Code {
	switch errno {
	case unix.ENOENT:
		return codes.NotFound
	case unix.EACCES, unix.EPERM, unix.EXDEV:
		return codes.PermissionDenied
	case unix.ESTALE, unix.ETXTBSY:
		return codes.FailedPrecondition
	case unix.EINVAL, unix.ENAMETOOLONG, unix.EBADF:
		return codes.InvalidArgument
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM:
		return codes.ResourceExhausted
	}
	return codes.Unknown
}
