package breaks

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Mounts notices that something was mounted in this process's name space. The
// kernel tells afterwards, and holds nobody up.
type Mounts struct {
	once sync.Once
	err  error
	info int // of mountinfo
	quit int // an eventfd
	done chan struct{}
}

// Start has changed called after each mount, by one goroutine, until Stop. Only the
// first call counts; the others return its error. The zero value may be started.
func (w *Mounts) Start(changed func()) error {
	w.once.Do(func() {
		if w.err = w.open(); w.err == nil {
			w.done = make(chan struct{})
			go w.watch(changed)
		}
	})
	return w.err
}

func (w *Mounts) open() (err error) {
	const path = "/proc/self/mountinfo"
	if w.info, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if w.quit, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		unix.Close(w.info)
		return fmt.Errorf("eventfd: %w", err)
	}
	return nil
}

// watch keeps a thread, which waits in the kernel.
func (w *Mounts) watch(changed func()) {
	defer close(w.done)
	for {
		on := []unix.PollFd{{Fd: int32(w.info), Events: unix.POLLPRI}, {Fd: int32(w.quit), Events: unix.POLLIN}}
		if _, err := unix.Poll(on, -1); err != nil {
			continue // EINTR: another signal came between
		}
		if on[1].Revents != 0 {
			return
		}
		changed()
	}
}

// Stop is for when Start is not called any more.
func (w *Mounts) Stop() {
	if w.done == nil {
		return
	}
	_, _ = unix.Write(w.quit, binary.NativeEndian.AppendUint64(nil, 1)) // an eventfd takes it
	<-w.done
	unix.Close(w.info)
	unix.Close(w.quit)
}
