package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/printable"
)

// ErrRefused: the target does not want this mount, whatever it asks: another
// protocol, a dataset that is not served, or too many sessions.
var ErrRefused = errors.New("target refused")

// Error makes the Go error of a control call's: an error wrapping
// [syscall.Errno] where the target's kernel gave one, else one wrapping
// [transport.ErrStale], [transport.ErrUnknownFile], [transport.ErrSession],
// [transport.ErrConnLost], [ErrRefused] or a context's error. Descriptors that
// the target is out of are ENFILE.
func Error(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	for _, detail := range st.Details() {
		if e, ok := detail.(*wire.Errno); ok {
			return fromErrno(printable.Cut(st.Message(), printable.MaxText), syscall.Errno(e.Errno))
		}
	}
	return fmt.Errorf("%w%s", sentinel(st.Code()), words(st))
}

// words are what a status adds to its [sentinel]. gRPC makes some statuses
// itself, whose text is about its own parts.
func words(st *status.Status) string {
	switch st.Code() {
	case codes.FailedPrecondition, codes.NotFound, codes.InvalidArgument, codes.AlreadyExists, codes.Aborted:
		return ": " + printable.Cut(st.Message(), printable.MaxText) // the target's
	case codes.DeadlineExceeded:
		return ": no answer in time"
	case codes.ResourceExhausted:
		return ": more than is taken at once, such as too large a message"
	case codes.Unavailable, codes.Unauthenticated, codes.Canceled:
		return ""
	}
	return ": it does not answer as an hbmfs target of this release does"
}

func fromErrno(msg string, errno syscall.Errno) error {
	switch errno {
	case 0:
		return fmt.Errorf("%w: error without a number: %s", transport.ErrProtocol, msg)
	case syscall.ESTALE:
		return fmt.Errorf("%w: %s", transport.ErrStale, msg)
	case syscall.EBADF:
		return fmt.Errorf("%w: %s", transport.ErrUnknownFile, msg)
	case syscall.EMFILE, syscall.ENFILE:
		// The limit is not the caller's own, as EMFILE would have it.
		return &errnoError{msg: "no descriptors left there; raise its limit (ulimit -n): " + msg, errno: syscall.ENFILE}
	case syscall.EUSERS: // the session's limit of files, in the target's words
		return &errnoError{msg: msg, errno: syscall.ENFILE}
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
	case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded:
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

// gone is what opening a version fails with for good.
var gone = []error{
	transport.ErrStale, syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENXIO,
	syscall.EACCES, syscall.EPERM, syscall.EXDEV, syscall.ETXTBSY,
}

// IsGone reports whether err says that a version is not to be had any more,
// rather than that the target is short of something.
func IsGone(err error) bool {
	return slices.ContainsFunc(gone, func(g error) bool { return errors.Is(err, g) })
}
