package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"hbmfs/integration/process"
)

// start starts a program that serves until the row ends.
func (s *stage) start(name string, args ...string) (*process.Process, error) {
	p, err := process.Start(process.Command(name, args...))
	if err == nil {
		s.undo.add(p.Stop)
	}
	return p, err
}

// timed runs a program to its end and returns what it printed, and how long that
// took.
func timed(ctx context.Context, name string, args ...string) ([]byte, time.Duration, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, &errs), ctx.Err())
	}
	return out, time.Since(began), nil
}
