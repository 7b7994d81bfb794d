package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"hbmfs/integration/lab/agent"
)

const (
	// dumpTime is what a test binary has to show its goroutines.
	dumpTime = 20 * time.Second
	// killTime is what the kernel has to end a process that was killed.
	killTime = 10 * time.Second
)

// run runs a command to its end. It returns an error wrapping errGuest if the
// guest died, and ctx's if it took longer.
func (g *guest) run(ctx context.Context, c agent.Command) (agent.Exit, error) {
	return g.runUntil(ctx, nil, c)
}

// runUntil is run for a test binary: at a tick of hung it is asked for its
// goroutines, and then killed. An error says that not even that ended it.
func (g *guest) runUntil(ctx context.Context, hung <-chan time.Time, c agent.Command) (agent.Exit, error) {
	p, err := g.agent.Start(c)
	if err != nil {
		return agent.Exit{}, g.failure(err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
	case <-hung:
		if !ends(p, syscall.SIGQUIT, dumpTime) && !ends(p, syscall.SIGKILL, killTime) {
			g.showBlocked(ctx)
			return agent.Exit{}, g.failure(fmt.Errorf("%s hangs, and can't be killed", c.Argv[0]))
		}
	}
	exit, err := p.Wait(ctx)
	if err != nil && !errors.Is(err, errGuest) {
		err = g.failure(err)
	}
	return exit, err
}

// ends reports whether a signal ends a process in time.
func ends(p *agent.Process, s syscall.Signal, wait time.Duration) bool {
	_ = p.Signal(s) // without its agent it is done
	select {
	case <-p.Done():
		return true
	case <-time.After(wait):
		return false
	}
}

// showBlocked has the guest's kernel say on its console where it holds processes.
func (g *guest) showBlocked(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, killTime)
	defer stop()
	_, _ = g.run(ctx, agent.Command{Argv: []string{"sh", "-c", "echo w >/proc/sysrq-trigger"}, Stdout: io.Discard, Stderr: io.Discard})
}
