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
	info int // of mountinfo; not an os.File, since Go's poller would take its events
	// id and dev are as mountinfo has them. Ids of mounts are used again at
	// once, device numbers not before the file system is gone.
	id, dev string
	stop    int // eventfd; closed by close alone
	once    sync.Once
	done    chan struct{}
}

func watchMount(mountpoint string) (*mountWatch, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, mountpoint, 0, unix.STATX_MNT_ID, &st); err != nil {
		return nil, fmt.Errorf("mount id of %s: %w", mountpoint, err)
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
		id:   strconv.FormatUint(st.Mnt_id, 10),
		dev:  fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor),
		stop: stop,
		done: make(chan struct{}),
	}
	go w.run()
	return w, nil
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
		if len(fields) > 2 && string(fields[0]) == w.id && string(fields[2]) == w.dev {
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
	var st unix.Stat_t
	if err := unix.Stat(mountpoint, &st); err != nil {
		return fmt.Errorf("stat %s: %w", mountpoint, err)
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	return os.WriteFile(path, []byte(strconv.Itoa(size>>10)), 0)
}
