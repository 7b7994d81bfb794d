package target

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Refusals that are not an errno.
var (
	errNoSession    = errors.New("unknown session")
	errNoDataset    = errors.New("no such dataset")
	errSecondStream = errors.New("the session has an events stream already")
	errClosing      = errors.New("the target is shutting down")
	errFull         = errors.New("the target has too many sessions")
)

// plain gives the code of each refusal that is not an errno.
var plain = []struct {
	err  error
	code codes.Code
}{
	{errNoSession, codes.Unauthenticated},
	{errNoDataset, codes.NotFound},
	{errSecondStream, codes.AlreadyExists},
	{errClosing, codes.Unavailable},
	{errFull, codes.ResourceExhausted},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// asStatus makes the gRPC status of err: with an Errno detail if the kernel
// gave one, or if err is one of package transport's.
func asStatus(op string, err error) error {
	if err == nil {
		return nil
	}
	for _, p := range plain {
		if errors.Is(err, p.err) {
			return status.Error(p.code, err.Error())
		}
	}
	errno := errnoOf(err)
	st, detailErr := status.New(codeOf(errno), op+": "+err.Error()).WithDetails(&wire.Errno{Errno: uint32(errno), Op: op})
	if detailErr != nil {
		return status.Error(codes.Internal, op+": "+err.Error())
	}
	return st.Err()
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
	case errors.Is(err, errWritable):
		return unix.ETXTBSY
	case errors.As(err, &errno):
		return errno
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
