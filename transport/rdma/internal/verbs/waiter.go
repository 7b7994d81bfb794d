//go:build linux && cgo

package verbs

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// waiter takes events from a library's channel, and parks the goroutine, not
// its thread, while there are none. It owns a duplicate of the channel's fd
// that Go's poller watches; the library closes its own.
type waiter struct {
	file *os.File
	raw  syscall.RawConn
	take func() syscall.Errno // EAGAIN: no event yet
	try  func(fd uintptr) bool
	last syscall.Errno // take's latest answer, of the one goroutine in wait
}

// newWaiter makes the channel behind fd non-blocking.
func newWaiter(fd int, name string, take func() syscall.Errno) (*waiter, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup "+name, err)
	}
	if err := unix.SetNonblock(own, true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl "+name, err), unix.Close(own))
	}
	w := &waiter{file: os.NewFile(uintptr(own), name), take: take}
	w.try = func(uintptr) bool {
		w.last = w.take()
		return w.last != syscall.EAGAIN
	}
	if w.raw, err = w.file.SyscallConn(); err == nil {
		err = w.file.SetReadDeadline(time.Time{}) // fails unless the poller has it
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", name, err), w.file.Close())
	}
	return w, nil
}

// wait returns once take gave another answer than EAGAIN, which it returns.
func (w *waiter) wait() error {
	err := w.raw.Read(w.try)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrInterrupted
	case err != nil:
		return err
	case w.last != 0:
		return w.last
	}
	return nil
}

// interrupt makes wait return ErrInterrupted, now and until resume.
func (w *waiter) interrupt() {
	// It can fail only once the file is closed, when nobody waits.
	_ = w.file.SetReadDeadline(time.Unix(1, 0))
}

// resume undoes interrupt.
func (w *waiter) resume() { _ = w.file.SetReadDeadline(time.Time{}) }

// close is idempotent.
func (w *waiter) close() error {
	if err := w.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
