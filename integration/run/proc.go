package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second // until a process says that it is ready
	stopTimeout  = 20 * time.Second // from SIGTERM to SIGKILL
)

// proc is one of the processes that run beside the driver.
type proc struct {
	cmd    *exec.Cmd
	lines  chan string   // of standard output; closed at its end
	log    bytes.Buffer  // its standard error; valid once exited is closed
	exited chan struct{} // closed after Wait
	err    error         // of Wait; valid once exited is closed
}

// command makes a process group of its own, so that a Ctrl-C reaches the driver
// alone, which then takes down in order.
func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return cmd
}

// start runs a program until stop. Its log is kept for errors.
func start(name string, args ...string) (*proc, error) {
	cmd := command(name, args...)
	p := &proc{cmd: cmd, lines: make(chan string, 16), exited: make(chan struct{})}
	cmd.Stderr = &p.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s %s: %w", name, args[0], err)
	}
	go p.follow(out)
	return p, nil
}

func (p *proc) follow(out io.Reader) {
	for s := bufio.NewScanner(out); s.Scan(); {
		select {
		case p.lines <- s.Text():
		default: // nobody waits for so many
		}
	}
	close(p.lines)
	p.err = p.cmd.Wait()
	close(p.exited)
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

// line waits for a line of standard output that begins with prefix.
func (p *proc) line(ctx context.Context, prefix string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				<-p.exited
				return "", fmt.Errorf("%s ended before it was ready: %v\n%s", p, p.err, &p.log)
			}
			if strings.HasPrefix(line, prefix) {
				return line, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for %s: %w", p, ctx.Err())
		}
	}
}

// stop ends the process and expects it to succeed.
func (p *proc) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not end within %v of SIGTERM, and was killed\n%s", p, stopTimeout, &p.log)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p, p.err, &p.log)
	}
	return nil
}

func (p *proc) String() string { return strings.Join(p.cmd.Args[:2], " ") }
