package fs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// mountWatch notices that a file system is no longer mounted in this name space,
// where it was at first or bound elsewhere.
type mountWatch struct {
	info int    // of mountinfo; not an os.File, since Go's poller would take its events
	dev  string // as mountinfo has it; not used again before the file system is gone
	stop int    // eventfd; closed by close alone
	once sync.Once
	done chan struct{}
}

func watchMount(mountpoint string) (*mountWatch, error) {
	st, err := identify(mountpoint)
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
	w := &mountWatch{
		info: info,
		dev:  fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor),
		stop: stop,
		done: make(chan struct{}),
	}
	go w.run()
	return w, nil
}

// identify returns a mount's device number without a call to its daemon, which is
// this process.
func identify(mountpoint string) (st unix.Statx_t, err error) {
	err = unix.Statx(unix.AT_FDCWD, mountpoint, unix.AT_STATX_DONT_SYNC, 0, &st)
	if err != nil {
		err = fmt.Errorf("device number of %s: %w", mountpoint, err)
	}
	return st, err
}

// watchPollMillis is how often a watch looks without having been told: an
// unmount's event is lost now and then (seen on Linux 6.18, once in some
// hundreds with other mounts under way).
const watchPollMillis = 500

// run polls mountinfo, which is readable for POLLPRI whenever the mount table
// changed (Documentation/filesystems/proc.rst, Linux 6.12).
func (w *mountWatch) run() {
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

func (w *mountWatch) mounted() bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	for line := range bytes.Lines(table) {
		fields := bytes.Fields(line)
		if len(fields) > 2 && string(fields[2]) == w.dev {
			return true
		}
	}
	return false
}

// wait returns when the mount is gone or the watch closed.
func (w *mountWatch) wait() { <-w.done }

func (w *mountWatch) close() {
	w.once.Do(func() {
		one := [8]byte{1}
		_, _ = unix.Write(w.stop, one[:]) // an eventfd takes it
		<-w.done
		unix.Close(w.stop)
	})
}

// setReadAhead sets the kernel's read-ahead window of a mount, in bytes. FUSE's
// own INIT cannot ask for more than 128 KiB.
func setReadAhead(mountpoint string, size int) error {
	st, err := identify(mountpoint)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", st.Dev_major, st.Dev_minor)
	return os.WriteFile(path, []byte(strconv.Itoa(size>>10)), 0)
}
