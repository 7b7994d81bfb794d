package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The control socket is bound by a path in the mount, and so by calls that wait
// for this very daemon. A thread of it that waits so would outlive a kill -9, and
// keep /dev/fuse open, and its own call would never be answered. So another
// process makes them: its calls fail once the daemon is gone.

// binderEnv names, for a re-executed program, the root of the mount to bind the
// control socket in. binderFD is the socket.
const (
	binderEnv = "HBMFS_BIND_CTL"
	binderFD  = 3
)

// bindTimeout bounds how long the binder may take.
const bindTimeout = 10 * time.Second

// RunIfBinder ends this process if [Start] has started it to bind a control
// socket. A program that mounts calls this before all else.
func RunIfBinder() {
	root := os.Getenv(binderEnv)
	if root == "" {
		return
	}
	err := os.Chdir(root) // a socket's address has room for 107 bytes only
	if err == nil {
		err = unix.Bind(binderFD, &unix.SockaddrUnix{Name: DirName + "/" + SocketName})
	}
	if err != nil {
		fmt.Fprint(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Binder is the process that may make the control socket's inode.
type Binder struct {
	mu  sync.Mutex
	cmd *exec.Cmd    // guarded by mu until it has started
	out bytes.Buffer // what it complains of
}

// newBinder makes a process that is to bind socket in clone, a mount.
func newBinder(socket, clone *os.File) *Binder {
	b := &Binder{cmd: exec.Command("/proc/self/exe")}
	b.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=/proc/self/fd/%d", binderEnv, binderFD+1))
	b.cmd.ExtraFiles = []*os.File{socket, clone}
	b.cmd.Stderr = &b.out
	b.cmd.WaitDelay = time.Second
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return b
}

// start keeps Owns waiting until the process has a number.
func (b *Binder) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cmd.Start()
}

// Owns reports whether the thread belongs to the process. A nil Binder owns none.
func (b *Binder) Owns(tid uint32) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cmd.Process != nil && unix.Access(fmt.Sprintf("/proc/%d/task/%d", b.cmd.Process.Pid, tid), unix.F_OK) == nil
}

// wait returns once the socket is bound.
func (b *Binder) wait() error {
	tooLong := time.AfterFunc(bindTimeout, func() { _ = b.cmd.Process.Kill() })
	defer tooLong.Stop()
	err := b.cmd.Wait()
	if text := strings.TrimSpace(b.out.String()); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

// listen returns the listener on a socket that it has bound in clone, a mount.
func listen(dir Dir, clone *os.File) (*net.UnixListener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	socket := os.NewFile(uintptr(fd), SocketName)
	defer socket.Close()
	if err := bind(dir, socket, clone); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	l, err := net.FileListener(socket)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// bind has another process bind socket in the directory.
func bind(dir Dir, socket, clone *os.File) error {
	b := newBinder(socket, clone)
	dir.Admit(b)
	defer dir.Admit(nil)
	if err := b.start(); err != nil {
		return err
	}
	return b.wait()
}

// CloseOnExec marks all descriptors but the standard ones: go-fuse leaves
// /dev/fuse to every process that this one starts, where it would keep the
// connection alive after a kill -9 of the daemon.
func CloseOnExec() error {
	return os.NewSyscallError("close_range", unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC))
}
