package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"hbmfs/integration/lab/agent"
)

// dumpTime is what a test binary has to show its goroutines, between its own
// time limit and the part's.
const dumpTime = 15 * time.Second

// errFailed says that tests failed; the report before it says which.
var errFailed = errors.New("the lab failed")

// runParts runs parts one after another, each in a new pair of guests, and
// reports their tests.
func (l *lab) runParts(ctx context.Context, chosen []part, soak time.Duration) error {
	begin := time.Now()
	var all report
	var failures []error
	for _, p := range chosen {
		r, err := l.runPart(ctx, p, soak)
		if err != nil {
			failures = append(failures, fmt.Errorf("part %s: %w", p.name, err))
		}
		all = append(all, r...)
		if ctx.Err() != nil {
			break
		}
	}
	all.print(os.Stdout)
	fmt.Printf("lab: %v in %v\n", all.counts(), time.Since(begin).Round(time.Second))
	if all.failed() {
		failures = append(failures, errFailed)
	}
	return errors.Join(failures...)
}

func (l *lab) runPart(ctx context.Context, p part, soak time.Duration) (report, error) {
	binaries, err := l.build(ctx, p)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	guests, err := l.machine.bootPair(ctx)
	if err != nil {
		return nil, err
	}
	defer guests.close()
	fmt.Printf("[%s] two guests are up after %v\n", p.name, time.Since(begin).Round(100*time.Millisecond))
	limit := partLimit + soak
	ctx, unwatch := guests.watch(ctx)
	defer unwatch()
	ctx, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer stop()
	var r report
	for _, b := range binaries {
		results, err := l.runBinary(ctx, guests[0], p.name, b, soak)
		r = append(r, results...)
		if err != nil {
			return r, err
		}
	}
	return append(r, r.missing(p)...), guests[1].check(ctx)
}

// runBinary runs the tests of a package in a guest.
func (l *lab) runBinary(ctx context.Context, g *guest, part string, b binary, soak time.Duration) (report, error) {
	log := &testLog{part: part, pkg: strings.TrimPrefix(b.name, "hbmfs/")}
	out := &lineWriter{prefix: "[" + part + "] ", w: os.Stdout, each: log.line}
	env := append([]string{"HBMFS_BIN=" + hostRoot + l.dir + "/hbmfs"}, l.env()...)
	if soak > 0 {
		env = append(env, "HBMFS_LAB_SOAK="+soak.String())
	}
	args := []string{b.file, "-test.v"}
	if deadline, ok := ctx.Deadline(); ok {
		args = append(args, "-test.timeout", (time.Until(deadline) - dumpTime).Round(time.Second).String())
	}
	exit, err := g.run(ctx, agent.Command{
		Argv: append(args, b.args...),
		Env:  env, Dir: hostRoot + b.dir, Stdout: out, Stderr: out,
	})
	if err != nil {
		return log.end(false), err
	}
	return log.end(exit.Code == 0), nil
}

// check says whether a guest still answers.
func (g *guest) check(ctx context.Context) error {
	ctx, stop := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("no answer within %v", bootLimit))
	defer stop()
	exit, err := g.run(ctx, agent.Command{Argv: []string{"true"}, Stdout: io.Discard, Stderr: io.Discard})
	if err == nil && exit.Code != 0 {
		err = g.failure(fmt.Errorf("true: %v", exit))
	}
	return err
}

// lineWriter passes whole lines on, each with a prefix and to a function.
type lineWriter struct {
	prefix  string
	w       io.Writer
	each    func(line string)
	partial []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		line, rest, whole := bytes.Cut(l.partial, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		if _, err := fmt.Fprintf(l.w, "%s%s\n", l.prefix, line); err != nil {
			return 0, err
		}
		l.each(string(line))
		l.partial = rest
	}
}
