package client

import (
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"

	"hbmfs/fs/uapi"
)

// TestReadInto: what is asked, and what is made of the answer.
func TestReadInto(t *testing.T) {
	reply := uapi.FetchInto{Flags: uapi.FetchUnsettled, Fetched: 90, FileSize: 100, Resident: 7, Path: uint32(uapi.PathRDMA), Why: uint32(uapi.WhyTargetAway)}
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno {
		r, err := uapi.DecodeFetchInto(cmd, arg)
		if err != nil || r.Buffer != 5 || r.BufferOffset != 3 || r.Offset != 10 || r.Length != 200 {
			t.Errorf("%+v, %v", r, err)
		}
		uapi.EncodeFetchInto(arg, &reply)
		return 0
	})
	b := &Buffer{mount: f.mount, id: 5, size: 300}
	got, err := f.ReadInto(t.Context(), b, 3, 10, 200)
	if want := (Placed{Fetched: 90, Resident: 7, FileSize: 100, Path: uapi.PathRDMA, Why: uapi.WhyTargetAway, Unsettled: true}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, broken := range []uapi.FetchInto{{Fetched: math.MaxInt64 + 1}, {FileSize: math.MaxUint64}, {Path: 256}, {Why: 1 << 16}} {
		reply = broken
		if got, err := f.ReadInto(t.Context(), b, 3, 10, 200); !errors.Is(err, ErrProtocol) || got != (Placed{}) {
			t.Errorf("%+v: %+v, %v", broken, got, err)
		}
	}
}

// TestBufferRemedies: an errno is told as one about a buffer.
func TestBufferRemedies(t *testing.T) {
	for errno, remedy := range map[syscall.Errno]string{
		syscall.ENOENT: "register it anew", syscall.EFAULT: "fallocate", syscall.EACCES: "another user's",
		syscall.ESTALE: "open it again", syscall.EREMOTEIO: "requires a direct path",
	} {
		f := newFakeFile(fails(errno))
		_, err := f.ReadInto(t.Context(), &Buffer{id: 5}, 0, 0, 1)
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), remedy) || !strings.Contains(err.Error(), f.path) {
			t.Errorf("%v: %v, want %q", errno, err, remedy)
		}
	}
}

// TestNewBufferRefused: what can't be had is not tried: the kernel would end other
// programs for it.
func TestNewBufferRefused(t *testing.T) {
	have, ok := availableMemory()
	if !ok || have < 1<<20 {
		t.Fatalf("%d bytes are available, %t", have, ok)
	}
	for size, want := range map[int64]error{0: syscall.EINVAL, -1: syscall.EINVAL, 1 << 50: syscall.ENOMEM} {
		if b, err := new(Mount).NewBuffer(size, 0); !errors.Is(err, want) {
			t.Errorf("%d bytes: %+v, %v, want %v", size, b, err, want)
		}
	}
}
