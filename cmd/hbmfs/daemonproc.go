package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// daemonProc is the process behind a mount, held by a pidfd. The zero value
// is a daemon that could not be found: there is nothing to wait for.
type daemonProc struct {
	pid   int
	pidfd *os.File
}

// findDaemon asks the kernel who listens on the mount's socket. A daemon that
// this user can't reach is not found; one that does not answer is an error.
func findDaemon(place string) (daemonProc, error) {
	found := make(chan int, 1)
	go func() { found <- socketOwner(place) }()
	select {
	case pid := <-found:
		return openProc(pid), nil
	case <-time.After(askWait):
		return daemonProc{}, fmt.Errorf("the daemon of %s does not answer; kill it, and unmount again", place)
	}
}

// socketOwner returns the process that listens on MOUNT/.hbmfs/ctl, or 0.
func socketOwner(place string) int {
	dir, err := unix.Open(filepath.Join(place, ".hbmfs"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(dir)
	// Through the descriptor, since socket addresses are short and mount points may not be.
	conn, err := net.Dial("unixpacket", "/proc/self/fd/"+strconv.Itoa(dir)+"/ctl")
	if err != nil {
		return 0
	}
	defer conn.Close()
	return peerPid(conn.(*net.UnixConn))
}

func peerPid(conn *net.UnixConn) (pid int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

func openProc(pid int) daemonProc {
	if pid <= 0 {
		return daemonProc{}
	}
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
