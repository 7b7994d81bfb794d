package client

import (
	"context"
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs/uapi"
)

// fakePins answers PIN with at most a step of a file of fakeSize bytes at a time, and
// with errno where room bytes are pinned.
func fakePins(t *testing.T, step, room uint64, errno syscall.Errno, asked *[]uapi.Pin) func(uint32, []byte) syscall.Errno {
	return func(cmd uint32, arg []byte) syscall.Errno {
		p, err := uapi.DecodePin(cmd, arg)
		if err != nil {
			t.Errorf("the client asked what the ABI refuses: %v", err)
			return syscall.EINVAL
		}
		*asked = append(*asked, p)
		if p.Offset >= room {
			return errno
		}
		end := min(p.Offset+p.Length, fakeSize)
		p.Pinned = min(step, end-p.Offset)
		if p.Offset+p.Pinned < end {
			p.Cursor = p.Offset + p.Pinned
		}
		uapi.EncodePin(arg, &p)
		return 0
	}
}

// TestPinGoesOn: a pin that is answered in part goes on, and tells how far it came.
func TestPinGoesOn(t *testing.T) {
	var asked []uapi.Pin
	f := newFakeFile(fakePins(t, 4*fakeExtent, math.MaxUint64, 0, &asked))
	n, err := f.Pin(context.Background(), 10, math.MaxInt64, PinOptions{Device: 3, For: time.Microsecond})
	if err != nil || n != fakeSize-10 || len(asked) != 3 || asked[2].Offset != 10+8*fakeExtent || asked[1].Device != 3 || asked[1].ForMs != 1 {
		t.Errorf("%d bytes, %v, asked %+v", n, err, asked)
	}
	f = newFakeFile(fakePins(t, fakeExtent, 2*fakeExtent, syscall.ENOSPC, &asked))
	n, err = f.Pin(context.Background(), 0, fakeSize, PinOptions{})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "unpin something") || n != 2*fakeExtent {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestPinBadAnswers: a mount that would have a pin go on for ever, or nowhere.
func TestPinBadAnswers(t *testing.T) {
	for _, bad := range []uapi.Pin{{Cursor: 5}, {Pinned: 11}, {Pinned: 5, Cursor: 3}} {
		f := newFakeFile(func(_ uint32, arg []byte) syscall.Errno {
			bad.Size = uint32(uapi.PinSize)
			uapi.EncodePin(arg, &bad)
			return 0
		})
		if n, err := f.Pin(context.Background(), 0, 10, PinOptions{}); !errors.Is(err, ErrProtocol) || n != 0 {
			t.Errorf("%+v: %d bytes, %v", bad, n, err)
		}
	}
}
