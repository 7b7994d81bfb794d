package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"hbmfs/cmd/hbmfs/internal/supervise"

	"golang.org/x/sys/unix"
)

// readyEnv tells a re-executed hbmfs that it is the daemon, and that its parent
// waits on descriptor readyFD for a startReport.
const (
	readyEnv = "HBMFS_READY"
	readyFD  = 3
)

// startReport is what the daemon tells its parent, once: that the mount
// answers, or why it doesn't.
type startReport struct {
	Text string `json:"error,omitempty"`
	Code int    `json:"code"`
}

// daemonError is a failure that the daemon reported, with its exit code.
type daemonError struct{ startReport }

func (e daemonError) Error() string { return e.Text }

// startDaemon runs this command line again in a session of its own, with log as
// its output, and returns when its mount answers. If ctx ends first, or a signal
// comes, the daemon is told to end, and unmounts what it has mounted by then.
func startDaemon(ctx context.Context, log *os.File) error {
	ctx, stop := signal.NotifyContext(ctx, supervise.EndSignals()...)
	defer stop()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd, err := daemonCommand(log, w)
	if err == nil {
		err = cmd.Start()
	}
	w.Close()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	goOn := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	err = awaitStart(cmd, r, log.Name())
	if !goOn() && err == nil {
		return fmt.Errorf("the mount was ended again: %w", context.Cause(ctx)) // it had been told to
	}
	return err
}

func daemonCommand(log, ready *os.File) (*exec.Cmd, error) {
	// What else our own caller left open must not live as long as the mount.
	if err := unix.CloseRange(readyFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("close_range", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0] // which may be mount.hbmfs
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{ready}
	cmd.Env = append(os.Environ(), readyEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

func awaitStart(cmd *exec.Cmd, r io.Reader, logName string) error {
	var report startReport
	if err := json.NewDecoder(r).Decode(&report); err != nil {
		return fmt.Errorf("the daemon died before its mount answered (%v); its log is %s", cmd.Wait(), logName)
	}
	if report.Code != exitOK {
		return daemonError{report}
	}
	return nil
}

// startPipe is the daemon's end of the pipe to its parent; nil in the foreground.
type startPipe struct{ f *os.File }

// isDaemon reports whether startDaemon has started this process.
func isDaemon() bool { return os.Getenv(readyEnv) != "" }

// inheritStart returns the pipe that startDaemon left to this process, or nil if
// this process is not a daemon.
func inheritStart() *startPipe {
	if !isDaemon() {
		return nil
	}
	os.Unsetenv(readyEnv)
	unix.CloseOnExec(readyFD)
	signal.Ignore(unix.SIGHUP)
	return &startPipe{os.NewFile(readyFD, "ready")}
}

// report tells the parent how the start went, the first time it is called. A
// parent that has gone is no error: the mount stays.
func (p *startPipe) report(err error) {
	if p == nil || p.f == nil {
		return
	}
	r := startReport{Code: exitCode(err)}
	if err != nil {
		r.Text = err.Error()
	}
	_ = json.NewEncoder(p.f).Encode(r)
	p.f.Close()
	p.f = nil
}

// minProcs is the least GOMAXPROCS of a mount's daemon.
const minProcs = 8

// widen raises GOMAXPROCS for a daemon that spends its time blocked in the
// kernel, in reads of /dev/fuse and of sockets. The runtime sees too late that
// such a goroutine blocks, and until then it holds one of the processors that
// others wait for; with as many as there are CPUs, all of them may be held while
// the CPUs idle. GOMAXPROCS in the environment is the user's word.
func widen() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(minProcs, 2*runtime.GOMAXPROCS(0)))
	}
}
