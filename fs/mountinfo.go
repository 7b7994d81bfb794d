package fs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// mountWatch notices that a mount is no longer in this name space.
type mountWatch struct {
	info *os.File
	id   uint64
	stop int // eventfd
	once sync.Once
	done chan struct{}
}

func watchMount(mountpoint string) (*mountWatch, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, mountpoint, 0, unix.STATX_MNT_ID, &st); err != nil {
		return nil, fmt.Errorf("mount id of %s: %w", mountpoint, err)
	}
	info, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		info.Close()
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	w := &mountWatch{info: info, id: st.Mnt_id, stop: stop, done: make(chan struct{})}
	go w.run()
	return w, nil
}

// run polls mountinfo, which is readable for POLLPRI whenever the mount table
// changed (Documentation/filesystems/proc.rst, Linux 6.12).
func (w *mountWatch) run() {
	defer unix.Close(w.stop)
	defer w.info.Close()
	defer close(w.done)
	fds := []unix.PollFd{{Fd: int32(w.info.Fd()), Events: unix.POLLPRI}, {Fd: int32(w.stop), Events: unix.POLLIN}}
	for w.mounted() {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
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
	id := []byte(strconv.FormatUint(w.id, 10) + " ")
	return bytes.HasPrefix(table, id) || bytes.Contains(table, append([]byte("\n"), id...))
}

// wait returns when the mount is gone or the watch closed.
func (w *mountWatch) wait() { <-w.done }

func (w *mountWatch) close() {
	w.once.Do(func() {
		select {
		case <-w.done:
			return
		default:
		}
		one := [8]byte{1}
		_, _ = unix.Write(w.stop, one[:]) // an eventfd takes it
	})
	<-w.done
}

// setReadAhead sets the kernel's read-ahead window of a mount, in bytes. FUSE's
// own INIT cannot ask for more than 128 KiB.
func setReadAhead(mountpoint string, size int) error {
	var st unix.Stat_t
	if err := unix.Stat(mountpoint, &st); err != nil {
		return fmt.Errorf("stat %s: %w", mountpoint, err)
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	return os.WriteFile(path, []byte(strconv.Itoa(size>>10)), 0)
}

func detach(mountpoint string) error {
	return unix.Unmount(mountpoint, unix.MNT_DETACH)
}
