package mounts

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A daemon listens on an abstract socket that is named after its mount's device
// number, for as long as its file system is there. The kernel tells who listens,
// also while the daemon is stopped, and no one has to touch the mount or to look
// through /proc. Nothing is said on it. Whoever comes first owns an abstract name,
// so that each daemon's has an end that nobody can guess.

// presencePrefix is what the names of all daemons of the file system dev begin
// with; "@" stands for the zero byte of an abstract one.
func presencePrefix(dev string) string { return "@hbmfs/" + dev + "/" }

// presenceName is a daemon's own name. The later daemon's sorts higher: a device
// number is used again, and an earlier daemon may be stopped.
func presenceName(dev string) (string, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return "", os.NewSyscallError("clock_gettime", err)
	}
	return fmt.Sprintf("%s%016x-%s", presencePrefix(dev), now.Nano(), rand.Text()), nil
}

// Announce makes the daemon of the file system dev to be found, until the
// returned function is called. A mount works without it; then commands find out
// about the daemon by asking the mount.
func Announce(dev string, log *slog.Logger) (withdraw func()) {
	l, err := listenAs(dev)
	if err != nil {
		log.Warn("'hbmfs umount' and 'stat' will not find this daemon, and umount will not wait for its end", "error", err)
		return func() {}
	}
	go func() {
		for {
			c, err := l.Accept()
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil:
				time.Sleep(100 * time.Millisecond) // such as for want of descriptors
			default:
				c.Close()
			}
		}
	}()
	return func() { l.Close() }
}

func listenAs(dev string) (*net.UnixListener, error) {
	name, err := presenceName(dev)
	if err != nil {
		return nil, err
	}
	return net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: name})
}

// errNobody: no daemon of a mount is in this network name space.
var errNobody = errors.New("no daemon listens")

// lookLimit bounds the search for a daemon among names that others took.
const lookLimit = time.Second

// whoListens returns the process, and the name, of the daemon of the file system
// dev. Whoever else than owner listens there is not the daemon.
func whoListens(dev string, owner uint32) (name string, pid int, pidfd *os.File, err error) {
	names, err := listeningNames(presencePrefix(dev))
	if err != nil {
		return "", 0, nil, err
	}
	err = errNobody
	for began := time.Now(); len(names) > 0; names = names[1:] {
		if time.Since(began) > lookLimit {
			return "", 0, nil, fmt.Errorf("too many sockets are called %s…", presencePrefix(dev))
		}
		pid, pidfd, thisErr := listenerAt(names[0], owner)
		if thisErr == nil {
			return names[0], pid, pidfd, nil
		}
		if !errors.Is(thisErr, errNobody) {
			err = thisErr
		}
	}
	return "", 0, nil, err
}

// listenerAt returns a pidfd of the process of owner's that listens at name, and
// its pid: 0 if it has none in this pid name space.
func listenerAt(name string, owner uint32) (pid int, pidfd *os.File, err error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	err = unix.Connect(s, &unix.SockaddrUnix{Name: name})
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return 0, nil, fmt.Errorf("%w: %w", errNobody, err)
	case err != nil: // EAGAIN: somebody does listen, who does not accept
		return 0, nil, os.NewSyscallError("connect", err)
	}
	cred, err := unix.GetsockoptUcred(s, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, nil, os.NewSyscallError("SO_PEERCRED", err)
	}
	if cred.Uid != owner {
		return 0, nil, fmt.Errorf("%w: it is user %d's, not the mount's", errNobody, cred.Uid)
	}
	pidfd, err = peerPidfd(s, cred)
	return int(cred.Pid), pidfd, err
}

// peerPidfd returns a pidfd of the peer that cred is of. Before Linux 6.5, its pid
// may have gone to another process by then, which counts only if it is the same
// user's.
func peerPidfd(s int, cred *unix.Ucred) (*os.File, error) {
	fd, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err == nil {
		return os.NewFile(uintptr(fd), "pidfd"), nil
	}
	if !errors.Is(err, unix.ENOPROTOOPT) {
		return nil, os.NewSyscallError("SO_PEERPIDFD", err)
	}
	if fd, err = unix.PidfdOpen(int(cred.Pid), 0); err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", cred.Pid), &st); err != nil || st.Uid != cred.Uid || !exists(pidfd) {
		pidfd.Close()
		return nil, fmt.Errorf("%w: process %d has ended", errNobody, cred.Pid)
	}
	return pidfd, nil
}

// exists reports whether pidfd's process has not been reaped: its pid is not
// another's.
func exists(pidfd *os.File) bool {
	return !errors.Is(unix.PidfdSendSignal(int(pidfd.Fd()), 0, nil, 0), unix.ESRCH)
}
