package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 15 * time.Second // until a server or a mount answers
	stopTimeout  = 10 * time.Second // from SIGTERM to SIGKILL
	pollInterval = 2 * time.Millisecond
)

// proc is a process of the bench that runs beside it, in a process group of its
// own: a Ctrl-C reaches the bench alone, which then takes down in order.
type proc struct {
	cmd    *exec.Cmd
	output tail
	exited chan struct{} // closed after Wait
	err    error         // of Wait; read after exited
}

// start runs a program until [proc.stop]. The kernel kills it if the bench dies.
func start(name string, args ...string) (*proc, error) {
	p := &proc{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

// stop ends the process group. A process that has already ended is no error.
func (p *proc) stop() error {
	_ = syscall.Kill(-p.pid(), syscall.SIGTERM) // ESRCH: it has ended
	return p.wait()
}

// wait lets the process end by itself, and kills it if it does not.
func (p *proc) wait() error {
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTimeout):
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
		<-p.exited
		return fmt.Errorf("%s did not end within %v and was killed", p.cmd.Path, stopTimeout)
	}
}

// until waits for ready to be true.
func (p *proc) until(ctx context.Context, what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !ready() {
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before %s: %v: %s", p.cmd.Path, what, p.err, &p.output)
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for %s: %w: %s", p.cmd.Path, what, ctx.Err(), &p.output)
		case <-time.After(pollInterval):
		}
	}
	return nil
}

// timed runs a program to its end and returns how long that took. What it
// printed on standard output goes to out, nowhere if that is nil.
func timed(ctx context.Context, out io.Writer, name string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var errs tail
	cmd.Stdout, cmd.Stderr = out, &errs
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, errors.Join(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, &errs), ctx.Err())
	}
	return time.Since(began), nil
}

// tail keeps the last bytes that a program wrote, for error messages.
type tail struct {
	mu   sync.Mutex // guards data
	data []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if over := len(t.data) - tailSize; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}
