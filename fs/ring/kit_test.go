package ring

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeFile answers fetches with what they ask for. Offsets below resident are there
// already; others wait for go, if that is not nil.
type fakeFile struct {
	resident uint64
	wait     chan struct{}
	users    atomic.Int64
	held     atomic.Int64
	begun    atomic.Int64
	pin      fakePin
}

type fakePin struct{ f *fakeFile }

func (p *fakePin) Release() {
	if p.f.held.Add(-1) < 0 {
		panic("released twice")
	}
}

func newFakeFile(resident uint64) *fakeFile {
	f := &fakeFile{resident: resident}
	f.pin.f = f
	return f
}

func (f *fakeFile) Retain()  { f.users.Add(1) }
func (f *fakeFile) Release() { f.users.Add(-1) }

func (f *fakeFile) Resident(op *uapi.RingOp, _ time.Duration, got *Got) bool {
	if op.Op != uapi.RingFetch || op.Offset >= f.resident {
		return false
	}
	f.held.Add(1)
	got.Held = &f.pin
	got.Done = uapi.RingDone{Length: op.Length, RegionOffset: op.Offset, Flags: uapi.RingHit}
	return true
}

func (f *fakeFile) Fetch(ctx context.Context, op *uapi.RingOp, name string) (Got, syscall.Errno) {
	f.begun.Add(1)
	if op.Op != uapi.RingFetch {
		return Got{}, syscall.EOPNOTSUPP
	}
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
			return Got{}, syscall.EINTR
		}
	}
	f.held.Add(1)
	return Got{Held: &f.pin, Done: uapi.RingDone{Length: op.Length, RegionOffset: op.Offset, Cursor: uint64(len(name))}}, 0
}

func newTestRings() *Rings {
	var now atomic.Int64 // grows with each question
	return NewRings(Config{
		Limit:      limits.New(limits.Config{What: "rings", All: 8 * minCost, Each: 4 * minCost}),
		Operations: limits.New(limits.Config{What: "operations", All: 64}),
		Clock:      func() time.Duration { return time.Duration(now.Add(1)) },
		Errno: func(err error) syscall.Errno {
			if errno, ok := err.(syscall.Errno); ok {
				return errno
			}
			return syscall.EINVAL
		},
	})
}

// program is the other side of a ring.
type program struct {
	t    testing.TB
	all  *Rings
	ring *Ring
	uapi.RingMemory
	mapped          []byte
	wakes, wakesMe  int
	submitted, read uint32
	ended           atomic.Bool // the ring, as it says
}

func newProgram(t testing.TB, entries, nameBytes uint32) *program {
	t.Helper()
	all := newTestRings()
	r, fds, err := all.New(Owner{UID: 7}, entries, nameBytes)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, all: all, ring: r, wakes: fds[1], wakesMe: fds[2]}
	if p.mapped, err = unix.Mmap(fds[0], 0, r.Len(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[0])
	if p.RingMemory, err = uapi.OpenRing(p.mapped); err != nil {
		t.Fatal(err)
	}
	r.OnEnd(func() { p.ended.Store(true) })
	t.Cleanup(p.close)
	return p
}

// close ends the ring, and waits until nothing is left of it.
func (p *program) close() {
	p.ring.Close()
	p.settled()
	unix.Close(p.wakes)
	unix.Close(p.wakesMe)
	_ = unix.Munmap(p.mapped)
}

// settled returns once all rings that have ended have given back what they had.
func (p *program) settled() {
	p.t.Helper()
	done := make(chan struct{})
	go func() { p.all.finished.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		stacks := make([]byte, 1<<20)
		p.t.Fatalf("the ring does not end:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
	if r, o, idle := p.all.cfg.Limit.Used(), p.all.cfg.Operations.Used(), p.all.idle.Load(); r != 0 || o != 0 || idle != 0 {
		p.t.Errorf("%d rings, %d operations and %d idle goroutines are counted after the end", r, o, idle)
	}
}

func (p *program) register(f File) uint32 {
	p.t.Helper()
	n, err := p.ring.Register(f)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// put submits an operation; there is room for it.
func (p *program) put(op uapi.RingOp) {
	p.Submit(p.submitted, &op)
	p.submitted++
}

// submit shows what was put, and wakes the mount if it sleeps.
func (p *program) submit() {
	atomic.StoreUint32(&p.SubmissionTail, p.submitted)
	p.wakeIfAsleep()
}

func (p *program) wakeIfAsleep() {
	if atomic.LoadUint32(&p.SubmissionFlags)&uapi.RingNeedWakeup != 0 {
		writeEventfd(p.wakes, 1)
	}
}

func writeEventfd(fd int, n uint64) {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], n)
	_, _ = unix.Write(fd, b[:])
}

// next returns a completion, and sleeps for it as programs do.
func (p *program) next() uapi.RingDone {
	p.t.Helper()
	p.await()
	d := p.Completion(p.read)
	p.read++
	atomic.StoreUint32(&p.CompletionHead, p.read)
	if p.submitted != atomic.LoadUint32(&p.SubmissionHead) {
		p.wakeIfAsleep()
	}
	return d
}

func (p *program) await() {
	p.t.Helper()
	for atomic.LoadUint32(&p.CompletionTail) == p.read {
		atomic.StoreUint32(&p.CompletionFlags, uapi.RingNeedWakeup)
		if atomic.LoadUint32(&p.CompletionTail) == p.read {
			p.sleep()
		}
		atomic.StoreUint32(&p.CompletionFlags, 0)
	}
}

func (p *program) sleep() {
	p.t.Helper()
	fds := []unix.PollFd{{Fd: int32(p.wakesMe), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 20_000)
	if n == 0 && err == nil {
		p.t.Fatalf("a wake-up was lost: %d submitted, %d taken, %d completed, %d read, flags %#x", p.submitted,
			atomic.LoadUint32(&p.SubmissionHead), atomic.LoadUint32(&p.CompletionTail), p.read, atomic.LoadUint32(&p.SubmissionFlags))
	}
	if n > 0 {
		var b [8]byte
		_, _ = unix.Read(p.wakesMe, b[:])
	}
}

// do submits one operation, and returns its completion.
func (p *program) do(op uapi.RingOp) uapi.RingDone {
	p.t.Helper()
	p.put(op)
	p.submit()
	d := p.next()
	if d.UserData != op.UserData {
		p.t.Fatalf("%+v completed as %+v", op, d)
	}
	return d
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
