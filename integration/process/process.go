// Package process is what the drivers of `make run`, `make bench` and `make
// chaos` have in common: they start programs that serve beside them, wait until
// those say that they are ready, and end them.
//
// It owns each process that it starts until that has ended. It never restarts
// one, and judges none by what it says.
//
// Locking: a tail guards what a process wrote.
package process

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	startLimit   = 30 * time.Second // until a program is ready
	endLimit     = 20 * time.Second // from a signal to a process's end
	pollInterval = 2 * time.Millisecond
)

// Process is a program that runs beside the driver.
type Process struct {
	cmd    *exec.Cmd
	output tail
	done   chan struct{}
	err    error // of Wait; valid once done is closed
}

// Command is [exec.Command] in a process group of its own, so that a Ctrl-C
// reaches the driver alone, which then takes down in order. The process gets
// SIGTERM when the driver dies.
func Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return cmd
}

// Start starts a command. Outputs of it that go nowhere are kept for
// [Process.AwaitLine] and for errors.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.output
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.output
	}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p, err)
	}
	return p, nil
}

// run holds the thread that starts the process: the kernel takes that thread's end
// for its parent's.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
		close(p.done)
	}
}

// String is the program and its first argument.
func (p *Process) String() string {
	args := p.cmd.Args[1:]
	return strings.Join(append([]string{filepath.Base(p.cmd.Path)}, args[:min(1, len(args))]...), " ")
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is the last of what the process wrote, where [Start] keeps that.
func (p *Process) Output() string { return p.output.String() }

// Done is closed when the process has ended, and its output.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process. The error is that of [exec.Cmd.Wait], with
// what the process said last.
func (p *Process) Wait() error {
	<-p.done
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p, p.err, &p.output)
	}
	return nil
}

// Await waits until ready is true, which is looked at again and again.
func (p *Process) Await(ctx context.Context, what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for !ready() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before %s: %v\n%s", p, what, p.err, &p.output)
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for %s: %w\n%s", p, what, ctx.Err(), &p.output)
		case <-time.After(pollInterval):
		}
	}
	return nil
}

// AwaitLine waits for a line of the output that begins with prefix, and returns it.
func (p *Process) AwaitLine(ctx context.Context, prefix string) (line string, err error) {
	err = p.Await(ctx, fmt.Sprintf("it said %q", prefix), func() bool {
		line = lineOf(p.Output(), prefix)
		return line != ""
	})
	return line, err
}

// lineOf finds the whole line that starts with prefix in what a program has
// written so far, without its end; "" if it is not there yet.
func lineOf(output, prefix string) string {
	for line := range strings.Lines(output) {
		if whole, ok := strings.CutSuffix(line, "\n"); ok && strings.HasPrefix(whole, prefix) {
			return whole
		}
	}
	return ""
}

// Signal sends s to a process that has perhaps ended.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// End sends s and waits for the process's end. One that does not end is killed, and
// an error; how it ended, [Process.Wait] tells.
func (p *Process) End(s syscall.Signal) error {
	if p.ends(s) {
		return nil
	}
	fate := "was killed"
	if !p.ends(syscall.SIGKILL) {
		fate = "lives on after SIGKILL"
	}
	return fmt.Errorf("%s (pid %d) did not end within %v of the signal %v, and %s\n%s", p, p.PID(), endLimit, s, fate, &p.output)
}

// Stop is End with SIGTERM.
func (p *Process) Stop() error { return p.End(syscall.SIGTERM) }

func (p *Process) ends(s syscall.Signal) bool {
	p.Signal(s)
	select {
	case <-p.done:
		return true
	case <-time.After(endLimit):
		return false
	}
}
