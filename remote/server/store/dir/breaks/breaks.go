// Package breaks has a process told, by its kernel, of what is about to change beneath
// its leases and delegations, and of mounts.
//
// It owns the thread that gets the signals, and the descriptors by which it waits for
// mounts. It takes no lease, and knows no file.
//
// Locking: none. Callbacks come one at a time.
package breaks

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// breakSignal is the real-time signal by which the kernel names the descriptor
// of a lease that is being broken. Where its queue of signals is full, it sends a
// plain SIGIO in its place, which names nothing.
const breakSignal = unix.Signal(40)

// Thread is one that waits for those signals, which go to no other. Leases
// are owned by it.
type Thread struct {
	tid   int
	over  atomic.Bool
	ended chan struct{}
}

// Listen starts a thread. It calls broken for each batch of
// descriptors, with all set if there may be others, until Stop.
func Listen(broken func(fds []int, all bool)) (*Thread, error) {
	started := make(chan error, 1)
	b := &Thread{ended: make(chan struct{})}
	go func() {
		defer close(b.ended)
		// Never unlocked: the thread, and what it blocks, end with the goroutine.
		runtime.LockOSThread()
		b.tid = unix.Gettid()
		err := blockBreaks()
		started <- err
		if err == nil {
			b.listen(broken)
		}
	}()
	return b, <-started
}

// Stop ends the thread. No lease may be owned by it any more. A plain signal is
// never refused for want of room.
func (b *Thread) Stop() {
	b.over.Store(true)
	_ = unix.Tgkill(os.Getpid(), b.tid, unix.SIGIO) // the thread is there until it gets it
	<-b.ended
}

// Own makes the thread the one to be told when a lease on fd, or a delegation, is broken.
// It must come before that.
func (b *Thread) Own(fd int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETSIG, int(breakSignal)); err != nil {
		return fmt.Errorf("fcntl F_SETSIG: %w", err)
	}
	owner := fOwnerEx{kind: ownerThread, pid: int32(b.tid)}
	_, _, errno := unix.Syscall(unix.SYS_FCNTL, uintptr(fd), unix.F_SETOWN_EX, uintptr(unsafe.Pointer(&owner)))
	if errno != 0 {
		return fmt.Errorf("fcntl F_SETOWN_EX: %w", errno)
	}
	return nil
}

// fOwnerEx is struct f_owner_ex, and ownerThread F_OWNER_TID, of
// include/uapi/asm-generic/fcntl.h.
type fOwnerEx struct{ kind, pid int32 }

const ownerThread = 0

// batch bounds how many signals are taken before files are looked at.
const batch = 256

func (b *Thread) listen(broken func(fds []int, all bool)) {
	for {
		var fds []int
		all := false
		for wait := true; len(fds) < batch; wait = false {
			sig, info, err := awaitBreak(wait)
			if err != nil {
				break // none is waiting, or another signal came between
			}
			if b.over.Load() {
				return
			}
			if sig == unix.SIGIO {
				all = true
			} else {
				fds = append(fds, int(info.fd))
			}
		}
		if all || len(fds) > 0 {
			broken(fds, all)
		}
	}
}

// sigInfo is what include/uapi/asm-generic/siginfo.h calls siginfo_t, with the
// member _sigpoll. Its union begins where a pointer may.
type sigInfo struct {
	signo, errno, code int32
	_                  [0]uintptr
	band               uintptr
	fd                 int32
	_                  [128]byte // more than the kernel writes
}

// sigSet is the kernel's sigset_t: a bit for each of 64 signals.
type sigSet uint64

const (
	breakSet     = sigSet(1)<<(breakSignal-1) | sigSet(1)<<(unix.SIGIO-1)
	sigSetSize   = unsafe.Sizeof(breakSet)
	blockSignals = 0 // SIG_BLOCK of include/uapi/asm-generic/signal-defs.h
)

func blockBreaks() error {
	set := breakSet
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, blockSignals, uintptr(unsafe.Pointer(&set)), 0, sigSetSize, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("rt_sigprocmask", errno)
	}
	return nil
}

// awaitBreak takes a signal. If wait is false and there is none, it returns an
// error at once.
func awaitBreak(wait bool) (unix.Signal, sigInfo, error) {
	set := breakSet
	var info sigInfo
	var limit *unix.Timespec
	if !wait {
		limit = new(unix.Timespec)
	}
	sig, _, errno := unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)),
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(limit)), sigSetSize, 0, 0)
	if errno != 0 {
		return 0, info, errno
	}
	return unix.Signal(sig), info, nil
}

// MinTime is how long the kernel must leave a lease to its holder: until
// the signal is seen, and then for a term.
const MinTime = 2 * time.Second

// CheckTime refuses a host whose kernel takes leases away before mounts can
// have been told.
func CheckTime() error {
	text, err := os.ReadFile("/proc/sys/fs/lease-break-time")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil // it can't be told, and is 45 seconds unless someone changed it
	}
	if err != nil {
		return err
	}
	return judgeBreakTime(string(text))
}

// judgeBreakTime reads the kernel's text: seconds, 0 for no limit.
func judgeBreakTime(text string) error {
	var seconds int
	if _, err := fmt.Sscan(text, &seconds); err != nil {
		return fmt.Errorf("fs.lease-break-time: %w", err)
	}
	if seconds == 0 || time.Duration(seconds)*time.Second >= MinTime {
		return nil
	}
	return fmt.Errorf("this host's kernel takes a read lease away after %d s, which is too soon for mounts to be told of a change: "+
		"sysctl fs.lease-break-time=45 is the usual value, %.0f the least", seconds, MinTime.Seconds())
}
