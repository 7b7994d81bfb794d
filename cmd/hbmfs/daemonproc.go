package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// daemonProc is the process behind a mount, held by a pidfd. The zero value
// is one that could not be found: it may be dead, hidden from this user, or in
// another pid name space, and kernels before 6.16 don't tell.
type daemonProc struct {
	pid   int
	pidfd *os.File
}

func (d daemonProc) found() bool { return d.pidfd != nil }

// findDaemon looks for the process that has the mount's connection open. It
// never touches the mount, whose daemon may be stuck.
func findDaemon(e mountEntry) daemonProc {
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range descriptors {
		if to, err := os.Readlink(fd); err != nil || to != "/dev/fuse" {
			continue
		}
		process, number := filepath.Split(fd)
		process = filepath.Dir(filepath.Clean(process))
		info, err := os.ReadFile(filepath.Join(process, "fdinfo", number))
		if err != nil || fuseConnection(string(info)) != e.connection() {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil {
			return openProc(pid)
		}
	}
	return daemonProc{}
}

// fuseConnection is what /proc/PID/fdinfo says of a descriptor of /dev/fuse;
// empty if it says nothing.
func fuseConnection(fdinfo string) string {
	for line := range strings.Lines(fdinfo) {
		if id, ok := strings.CutPrefix(line, "fuse_connection:"); ok {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

func openProc(pid int) daemonProc {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return daemonProc{}
	}
	return daemonProc{pid, os.NewFile(uintptr(fd), "pidfd")}
}

func (d daemonProc) close() {
	if d.pidfd != nil {
		d.pidfd.Close()
	}
}

// terminate asks the process to end in order.
func (d daemonProc) terminate() error {
	if !d.found() {
		return os.ErrProcessDone
	}
	return unix.PidfdSendSignal(int(d.pidfd.Fd()), unix.SIGTERM, nil, 0)
}

// awaitEnd returns once the process has ended, or an error if that takes longer
// than limit.
func (d daemonProc) awaitEnd(limit time.Duration) error {
	if d.pidfd == nil {
		return nil
	}
	deadline := time.Now().Add(limit)
	poll := []unix.PollFd{{Fd: int32(d.pidfd.Fd()), Events: unix.POLLIN}}
	for {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll(poll, int(left.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the daemon: %w", err)
		case n > 0:
			return nil
		default:
			return fmt.Errorf("unmounted, but its daemon (pid %d) is still finishing; its log says why", d.pid)
		}
	}
}
