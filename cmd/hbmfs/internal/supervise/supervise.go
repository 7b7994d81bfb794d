// Package supervise has a command's work done by a child, so that the command itself
// stays free to end, whatever the work waits for.
//
// It knows nothing of the work, and prints nothing. It holds no lock.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A call on a mount whose daemon is stopped waits in the kernel, and no signal
// ends it once the daemon has read the request. A process ends with its last
// thread only. So a command that touches mounts does its work in a child, and
// stays free to end: the child follows when the daemon goes on or dies.

// workerEnv tells a re-executed hbmfs that it is such a child.
const workerEnv = "HBMFS_WORKER"

// endGrace is how long a command that was told to end may take to do so in order.
const endGrace = 500 * time.Millisecond

// NoLimit is for commands that may take any time.
const NoLimit time.Duration = 0

// EndSignals end a command or a mount in order. A hang-up that is ignored, as a
// daemon's is, stays ignored.
func EndSignals() []os.Signal {
	end := []os.Signal{os.Interrupt, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) {
		end = append(end, unix.SIGHUP)
	}
	return end
}

type supervisedKey struct{}

// ProgramContext is the context of a command line of this process, whose work a
// child shall do.
func ProgramContext() context.Context {
	ctx := context.Background()
	if os.Getenv(workerEnv) != "" {
		os.Unsetenv(workerEnv)
		return ctx
	}
	return context.WithValue(ctx, supervisedKey{}, true)
}

// IsSupervised reports whether ctx is a [ProgramContext] of a process that leaves
// its work to a child.
func IsSupervised(ctx context.Context) bool { return ctx.Value(supervisedKey{}) != nil }

// EndedError says how a command's child ended, which told its error itself.
type EndedError struct {
	Code int
	Text string // empty: it is all told
}

func (e EndedError) Error() string { return e.Text }

// Run does a command's work: in a child if ctx is a [ProgramContext]. It
// returns soon after SIGINT, SIGTERM or SIGHUP, and after limit, whatever the
// work waits for.
func Run(ctx context.Context, limit time.Duration, work func(context.Context) error) error {
	if !IsSupervised(ctx) {
		return work(ctx)
	}
	runtime.LockOSThread() // Pdeathsig counts from the thread that starts the child
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, EndSignals()...)
	defer signal.Stop(signals)
	w, err := startWorker()
	if err != nil {
		return err
	}
	return w.await(limit, signals)
}

// worker is the child of a supervised command.
type worker struct {
	*exec.Cmd
	done chan struct{} // closed when it has ended and all its output was passed on
}

func startWorker() (*worker, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, passOn(os.Stdout), passOn(os.Stderr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a process of hbmfs: %w", err)
	}
	w := &worker{cmd, make(chan struct{})}
	go func() {
		_ = w.Wait() // ProcessState tells
		close(w.done)
	}()
	return w, nil
}

// passOn returns what a child writes to instead of f. Whoever reads a pipe or a
// socket waits for its last writer, and must not wait for a child that hangs.
func passOn(f *os.File) io.Writer {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err == nil {
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFIFO || kind == unix.S_IFSOCK {
			return struct{ io.Writer }{f} // package exec copies for what is no *os.File
		}
	}
	return f
}

// await passes signals on until the child has ended, for as long as it may take.
func (w *worker) await(limit time.Duration, signals <-chan os.Signal) error {
	var ended syscall.Signal
	var over <-chan time.Time
	if limit > 0 {
		over = time.After(limit)
	}
	for {
		select {
		case <-w.done:
			return w.outcome(ended)
		case s := <-signals:
			_ = w.Process.Signal(s) // it may have ended
			if ended == 0 {
				ended, _ = s.(syscall.Signal)
				over = time.After(endGrace)
			}
		case <-over:
			_ = w.Process.Kill()
			if ended == 0 {
				return fmt.Errorf("no answer within %v: the mount's daemon may be stopped, or out of reach", limit)
			}
			return EndedError{128 + int(ended), "ended while a call waits for the daemon of a mount; what it holds is released when that goes on or ends"}
		}
	}
}

// outcome is how the child ended, by itself or by a signal to this process.
func (w *worker) outcome(sent syscall.Signal) error {
	state, _ := w.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case state.Exited() && (sent == 0 || state.ExitStatus() == 0):
		if code := state.ExitStatus(); code != 0 {
			return EndedError{Code: code}
		}
		return nil
	case sent != 0:
		return EndedError{Code: 128 + int(sent)}
	case state.Signaled():
		return EndedError{128 + int(state.Signal()), fmt.Sprintf("ended by a signal: %v", state.Signal())}
	}
	return errors.New("the process that does the work ended without a status")
}
