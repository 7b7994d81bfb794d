package mounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Daemon is the process behind a mount, held by a pidfd. Without one it could
// not be found: it is dead, or in another network name space.
type Daemon struct {
	mount Entry
	name  string // of its socket
	PID   int    // 0: of another pid name space
	pidfd *os.File
	// WhyNot is why it was not found.
	WhyNot error
}

// State is what can be told of a daemon without asking it.
type State int

const (
	Unknown State = iota
	Running
	Stopped // by SIGSTOP or a debugger: it answers once it goes on
	Dying   // killed; a thread of it may still hang
)

// FindDaemon never touches the mount, whose daemon may be stuck.
func FindDaemon(e Entry) Daemon {
	name, pid, pidfd, err := whoListens(e.Dev, e.Owner)
	return Daemon{mount: e, name: name, PID: pid, pidfd: pidfd, WhyNot: err}
}

func (d Daemon) Found() bool { return d.pidfd != nil }

func (d Daemon) Close() {
	if d.pidfd != nil {
		d.pidfd.Close()
	}
}

// State looks at this one process. Its status takes no lock that a process
// holds while it waits.
func (d Daemon) State() State {
	if !d.Found() || d.PID == 0 {
		return Unknown
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID))
	if err != nil || !exists(d.pidfd) { // or it may be another's status
		return Unknown
	}
	return parseState(status)
}

// parseState reads proc_pid_status(5). A process that was killed has SIGKILL
// pending for as long as its first thread hangs.
func parseState(status []byte) State {
	state := Unknown
	for line := range bytes.Lines(status) {
		key, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case key == "State" && strings.HasPrefix(value, "Z"), key == "State" && strings.HasPrefix(value, "X"):
			return Dying
		case key == "State" && strings.HasPrefix(strings.ToUpper(value), "T"):
			state = Stopped
		case key == "State" && value != "":
			state = Running
		case key == "SigPnd" || key == "ShdPnd":
			if set, err := strconv.ParseUint(value, 16, 64); err == nil && set&(1<<(unix.SIGKILL-1)) != 0 {
				return Dying
			}
		}
	}
	return state
}

// signal sends sig.
func (d Daemon) signal(sig unix.Signal) error {
	if !d.Found() {
		return os.ErrProcessDone
	}
	return unix.PidfdSendSignal(int(d.pidfd.Fd()), sig, nil, 0)
}

// serves reports whether the file system is still there, wherever it is mounted.
func (d Daemon) serves() bool {
	if !d.Found() {
		return false
	}
	_, pidfd, err := listenerAt(d.name, d.mount.Owner)
	if err != nil {
		return !errors.Is(err, errNobody)
	}
	pidfd.Close()
	return true
}

// elsewhereWait is how long the last mount of a file system may take to be
// noticed by its daemon as gone. One that is there after that is mounted in
// another mount name space.
const elsewhereWait = 2 * time.Second

// AwaitEnd is AwaitExit after an unmount: a daemon whose file system is mounted
// at another place goes on, and is not waited for.
func (d Daemon) AwaitEnd(ctx context.Context, limit time.Duration) error {
	if d.IsMountedElsewhere() {
		return nil
	}
	for began := time.Now(); d.serves(); {
		if ended, err := d.hasEnded(); ended || err != nil {
			return err
		}
		if ctx.Err() != nil || time.Since(began) > elsewhereWait {
			return ctx.Err()
		}
	}
	return d.AwaitExit(ctx, limit)
}

// AwaitExit returns once the process has ended, or an error if that takes longer
// than limit or ctx ends.
func (d Daemon) AwaitExit(ctx context.Context, limit time.Duration) error {
	if !d.Found() {
		return nil
	}
	for began := time.Now(); time.Since(began) < limit; {
		if ended, err := d.hasEnded(); ended || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("unmounted, but its daemon (pid %d) is still finishing; its log says why", d.PID)
}

// hasEnded waits for the process a little.
func (d Daemon) hasEnded() (bool, error) {
	const millis = 20
	poll := []unix.PollFd{{Fd: int32(d.pidfd.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, millis)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("wait for the daemon: %w", err)
	}
	return n > 0, nil
}

// IsMountedElsewhere reports whether this process or the daemon sees the file
// system mounted, wherever.
func (d Daemon) IsMountedElsewhere() bool {
	tables := []string{"/proc/self/mountinfo"}
	if d.PID != 0 {
		tables = append(tables, fmt.Sprintf("/proc/%d/mountinfo", d.PID))
	}
	for _, table := range tables {
		if entries, err := readMountinfo(table); err == nil && countDev(entries, d.mount.Dev) > 0 {
			return true
		}
	}
	return false
}
