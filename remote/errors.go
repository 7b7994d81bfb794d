package remote

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// ErrRefused: the target does not want this mount, whatever it asks: another
// protocol, a dataset that is not served, or too many sessions.
var ErrRefused = errors.New("target refused")

// fromStatus makes the Go error of a control call's: an error wrapping
// [syscall.Errno] where the target's kernel gave one, else one wrapping
// [transport.ErrStale], [transport.ErrUnknownFile], [transport.ErrSession],
// [transport.ErrConnLost], [ErrRefused] or a context's error.
func fromStatus(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	for _, detail := range st.Details() {
		if e, ok := detail.(*wire.Errno); ok {
			return fromErrno(st.Message(), syscall.Errno(e.Errno))
		}
	}
	return fmt.Errorf("%w: %s", sentinel(st.Code()), st.Message())
}

func fromErrno(msg string, errno syscall.Errno) error {
	switch errno {
	case 0:
		return fmt.Errorf("%w: error without a number: %s", transport.ErrProtocol, msg)
	case syscall.ESTALE:
		return fmt.Errorf("%w: %s", transport.ErrStale, msg)
	case syscall.EBADF:
		return fmt.Errorf("%w: %s", transport.ErrUnknownFile, msg)
	}
	return &errnoError{msg: msg, errno: errno}
}

// errnoError is an error of the target's kernel, in the target's words.
type errnoError struct {
	msg   string
	errno syscall.Errno
}

func (e *errnoError) Error() string { return "target: " + e.msg }
func (e *errnoError) Unwrap() error { return e.errno }

func sentinel(code codes.Code) error {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded:
		return transport.ErrConnLost
	case codes.Unauthenticated:
		return transport.ErrSession
	case codes.Canceled:
		return context.Canceled
	case codes.FailedPrecondition, codes.NotFound, codes.ResourceExhausted, codes.InvalidArgument, codes.PermissionDenied:
		return ErrRefused
	}
	return transport.ErrProtocol
}
