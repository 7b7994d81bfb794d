package client

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openFile is an open file of a mount.
type openFile interface {
	// ioctl makes the call, whatever its errno; the error is [ErrClosed].
	ioctl(*call) (syscall.Errno, error)
	io.Closer
}

// call is an ioctl and its argument. It can be made again and again without
// allocation.
type call struct {
	cmd   uint32
	arg   []byte // as long as cmd says
	errno syscall.Errno
	run   func(fd uintptr) // do, bound once
	of    openFile         // that it was made on: what came of it is valid while that is open
	// remedies are those that are others for this call.
	remedies map[syscall.Errno]string
}

func newCall(cmd uint32, arg []byte) *call {
	c := &call{cmd: cmd, arg: arg}
	c.run = c.do
	return c
}

func (c *call) do(fd uintptr) {
	_, _, c.errno = syscall.Syscall(syscall.SYS_IOCTL, fd, uintptr(c.cmd), uintptr(unsafe.Pointer(&c.arg[0])))
}

// osFile is the openFile that the kernel has. Its descriptor is closed once the
// last call on it has returned.
type osFile struct {
	*os.File
	raw syscall.RawConn
}

func (f *osFile) ioctl(c *call) (syscall.Errno, error) {
	if err := f.raw.Control(c.run); err != nil {
		return 0, fmt.Errorf("%w: %s", ErrClosed, f.Name())
	}
	return c.errno, nil
}

// interruptEvery is how long to wait for an interrupted call to end before it
// is interrupted again, since a signal that comes just before the system call
// is without effect.
const interruptEvery = 10 * time.Millisecond

// interruptible makes c, and has the end of ctx break it off with EINTR. EINTR
// comes without that too: Go's runtime sends signals to its own threads.
func interruptible(ctx context.Context, f openFile, c *call) (syscall.Errno, error) {
	if ctx.Err() != nil {
		return 0, ended(ctx)
	}
	if ctx.Done() == nil {
		return f.ioctl(c)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	over := make(chan struct{})
	defer close(over)
	tid := unix.Gettid()
	defer context.AfterFunc(ctx, func() { interrupt(tid, over) })()
	return f.ioctl(c)
}

// answered makes c until no signal has broken it off, each time with an argument that
// encode writes. The error is explained, or ctx's, or [ErrClosed].
func answered(ctx context.Context, f openFile, c *call, encode func()) error {
	c.of = f
	for {
		encode()
		switch errno, err := interruptible(ctx, f, c); {
		case err != nil:
			return err
		case errno == 0:
			return nil
		case errno != syscall.EINTR:
			return explainBy(c.remedies, errno)
		}
	}
}

// ended is why ctx ended: its error, and its cause where that is another.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// interrupt sends signals to a thread of this process until over is closed.
// SIGURG is the one that Go's runtime uses for that itself, so that one too many
// is harmless.
func interrupt(tid int, over <-chan struct{}) {
	again := time.NewTicker(interruptEvery)
	defer again.Stop()
	for {
		_ = unix.Tgkill(unix.Getpid(), tid, unix.SIGURG) // ESRCH: the thread is gone, and the call with it
		select {
		case <-over:
			return
		case <-again.C:
		}
	}
}
