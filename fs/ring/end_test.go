package ring

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// slowFile is a fakeFile whose fetches end when they are done, whatever ends before.
type slowFile struct{ *fakeFile }

func (f slowFile) Fetch(_ context.Context, op *uapi.RingOp, name string) (Got, syscall.Errno) {
	return f.fakeFile.Fetch(context.Background(), op, name)
}

// TestEndKeepsWakeUps: the end of a ring, while it waits for what is under way, takes no
// wake-up from a program that has not seen it yet.
func TestEndKeepsWakeUps(t *testing.T) {
	p := newProgram(t, 4, 0)
	f := slowFile{newFakeFile(0)}
	f.wait = make(chan struct{})
	p.put(uapi.RingOp{Op: uapi.RingFetch, File: p.register(f)})
	p.put(uapi.RingOp{Op: uapi.RingNop})
	atomic.StoreUint32(&p.CompletionFlags, uapi.RingNeedWakeup)
	p.submit()
	readable := func() bool {
		fds := []unix.PollFd{{Fd: int32(p.wakesMe), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n == 1 && err == nil
	}
	eventually(t, "one is under way, and the program was woken", func() bool { return f.begun.Load() == 1 && readable() })
	p.ring.Close()
	time.Sleep(5 * drainEvery)
	if !readable() {
		t.Error("the wake-up is gone")
	}
	close(f.wait)
}
