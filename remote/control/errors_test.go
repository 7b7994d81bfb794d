package control

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

func TestError(t *testing.T) {
	detailed := func(errno syscall.Errno) error {
		st, err := status.New(codes.Unknown, "open: failed").WithDetails(&wire.Errno{Errno: uint32(errno), Op: "open"})
		if err != nil {
			t.Fatal(err)
		}
		return st.Err()
	}
	for _, c := range []struct{ err, want error }{
		{nil, nil},
		{os.ErrExist, os.ErrExist},
		{detailed(syscall.ENOENT), syscall.ENOENT},
		{detailed(syscall.ENOENT), os.ErrNotExist},
		{detailed(syscall.ESTALE), transport.ErrStale},
		{detailed(syscall.EBADF), transport.ErrUnknownFile},
		{detailed(0), transport.ErrProtocol},
		{status.Error(codes.Unavailable, ""), transport.ErrConnLost},
		{status.Error(codes.Unauthenticated, ""), transport.ErrSession},
		{status.Error(codes.FailedPrecondition, ""), ErrRefused},
		{status.Error(codes.Unimplemented, ""), transport.ErrProtocol},
	} {
		if got := Error(c.err); !errors.Is(got, c.want) {
			t.Errorf("%v: %v, not %v", c.err, got, c.want)
		}
	}
}

// TestWordsOfLimits: only descriptors are a matter of ulimit; callers see ENFILE.
func TestWordsOfLimits(t *testing.T) {
	for errno, ulimit := range map[syscall.Errno]bool{syscall.EMFILE: true, syscall.ENFILE: true, syscall.EUSERS: false} {
		err := fromErrno("open: too many", errno)
		if !errors.Is(err, syscall.ENFILE) || strings.Contains(err.Error(), "ulimit") != ulimit {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
