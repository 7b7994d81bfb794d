// Package mountwatch knows a mount by its device: it notices that it is gone, by whomever
// it was taken away, and sets what the kernel has for it. It
// never asks the mount's daemon, which may be this process.
package mountwatch

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Watch notices that a file system is no longer mounted in this name space,
// where it was at first or bound elsewhere.
type Watch struct {
	// Device is the file system's, as mountinfo has it. The kernel gives its number to
	// no other before it is gone.
	Device string

	info int // of mountinfo; not an os.File, since Go's poller would take its events
	stop int // eventfd; closed by Close alone
	once sync.Once
	done chan struct{}
}

// New watches the file system that is mounted at mountpoint. The caller closes it.
func New(mountpoint string) (*Watch, error) {
	dev, err := Device(mountpoint)
	if err != nil {
		return nil, err
	}
	info, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open mountinfo: %w", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(info)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	w := &Watch{
		Device: dev,

		info: info,
		stop: stop,
		done: make(chan struct{}),
	}
	go w.run()
	return w, nil
}

// Device is a mount's device number, as mountinfo has it.
func Device(mountpoint string) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, mountpoint, unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		return "", fmt.Errorf("device number of %s: %w", mountpoint, err)
	}
	return fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor), nil
}

// watchPollMillis is how often a watch looks without having been told: an
// unmount's event is lost now and then (seen on Linux 6.18, once in some
// hundreds with other mounts under way).
const watchPollMillis = 500

// run polls mountinfo, which is readable for POLLPRI whenever the mount table
// changed (Documentation/filesystems/proc.rst, Linux 6.12).
func (w *Watch) run() {
	defer unix.Close(w.info)
	defer close(w.done)
	fds := []unix.PollFd{{Fd: int32(w.info), Events: unix.POLLPRI}, {Fd: int32(w.stop), Events: unix.POLLIN}}
	for w.mounted() {
		if _, err := unix.Poll(fds, watchPollMillis); err != nil && err != unix.EINTR {
			return
		}
		if fds[1].Revents != 0 {
			return
		}
	}
}

func (w *Watch) mounted() bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	for line := range bytes.Lines(table) {
		fields := bytes.Fields(line)
		if len(fields) > 2 && string(fields[2]) == w.Device {
			return true
		}
	}
	return false
}

// Wait returns when the mount is gone or the watch closed.
func (w *Watch) Wait() { <-w.done }

// Close ends the watch.
func (w *Watch) Close() {
	w.once.Do(func() {
		one := [8]byte{1}
		_, _ = unix.Write(w.stop, one[:]) // an eventfd takes it
		<-w.done
		unix.Close(w.stop)
	})
}
