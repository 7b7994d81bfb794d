package guest

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hbmfs/integration/lab/agent"
)

// Process is a program that was started in a guest. Its methods may be called
// by several goroutines, except that one at a time may be in WaitLine.
type Process struct {
	argv    []string
	process *agent.Process
	more    chan struct{} // output came since the last look

	mu     sync.Mutex // guards output
	output []byte     // both streams, as they came
}

// Write takes the program's output.
func (p *Process) Write(data []byte) (int, error) {
	p.mu.Lock()
	p.output = append(p.output, data...)
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
	return len(data), nil
}

// Output is what the program wrote so far, to stdout and stderr.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.output)
}

// WaitLine returns the first whole line of the output that contains part, once
// it is there. A program that ends without it fails the test.
func (p *Process) WaitLine(t testing.TB, part string) string {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		if line, ok := lineWith(p.Output(), part); ok {
			return line
		}
		select {
		case <-p.more:
		case <-p.process.Done():
			if line, ok := lineWith(p.Output(), part); ok {
				return line
			}
			t.Fatalf("%v ended without a line with %q:\n%s", p.argv, part, p.Output())
		case <-limit.C:
			t.Fatalf("%v: no line with %q within %v:\n%s", p.argv, part, patience, p.Output())
		}
	}
}

func lineWith(output, part string) (string, bool) {
	for line := range strings.Lines(output) {
		text, whole := strings.CutSuffix(line, "\n")
		if whole && strings.Contains(text, part) {
			return text, true
		}
	}
	return "", false
}

// Wait waits for the program's end. It fails the test if the guest's agent goes
// first; the test's own time limit bounds it.
func (p *Process) Wait(t testing.TB) agent.Exit {
	t.Helper()
	exit, err := p.process.Wait(context.Background())
	if err != nil {
		t.Errorf("%v: %v", p.argv, err)
	}
	return exit
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.process.Done() }

// Signal sends s; a program that has ended ignores it.
func (p *Process) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.process.Signal(s); err != nil {
		t.Errorf("signal %v to %v: %v", s, p.argv, err)
	}
}

// Kill sends SIGKILL.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGKILL)
}
