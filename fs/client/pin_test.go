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
		p.Path, p.Why = uint32(uapi.PathRDMA), uint32(uapi.WhyBest)
		if p.Offset >= 4*fakeExtent { // the second half is worse
			p.Path, p.Why, p.Flags = uint32(uapi.PathStaged), uint32(uapi.WhyTargetAway), uapi.PinUnsettled
		}
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
	if err != nil || n.Bytes != fakeSize-10 || len(asked) != 3 || asked[2].Offset != 10+8*fakeExtent || asked[1].Device != 3 || asked[1].ForMs != 1 {
		t.Errorf("%+v, %v, asked %+v", n, err, asked)
	}
	if n.Path != uapi.PathStaged || n.Why != uapi.WhyTargetAway || !n.Unsettled {
		t.Errorf("%+v: want the least direct, and that it may be old", n)
	}
	f = newFakeFile(fakePins(t, fakeExtent, 2*fakeExtent, syscall.ENOSPC, &asked))
	n, err = f.Pin(context.Background(), 0, fakeSize, PinOptions{})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "unpin something") || n.Bytes != 2*fakeExtent {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestPinOfChanged: of a file that changed nothing is pinned any more, whatever was.
func TestPinOfChanged(t *testing.T) {
	var asked []uapi.Pin
	f := newFakeFile(fakePins(t, fakeExtent, 2*fakeExtent, syscall.ESTALE, &asked))
	if n, err := f.Pin(context.Background(), 0, fakeSize, PinOptions{}); !errors.Is(err, syscall.ESTALE) || n != (Pinned{}) || len(asked) != 3 {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestPinForLessThanNothing: it is refused here, and not taken for a very long time.
func TestPinForLessThanNothing(t *testing.T) {
	var asked []uapi.Pin
	f := newFakeFile(fakePins(t, fakeExtent, math.MaxUint64, 0, &asked))
	if _, err := f.Pin(context.Background(), 0, 10, PinOptions{For: -time.Second}); !errors.Is(err, syscall.EINVAL) || len(asked) != 0 {
		t.Errorf("%v, asked %+v", err, asked)
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
		if n, err := f.Pin(context.Background(), 0, 10, PinOptions{}); !errors.Is(err, ErrProtocol) || n != (Pinned{}) {
			t.Errorf("%+v: %+v, %v", bad, n, err)
		}
	}
}
