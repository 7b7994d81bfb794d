package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"hbmfs/integration/lab/agent"
	"hbmfs/integration/process"
)

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
	var r report
	for len(binaries) > 0 {
		results, done, err := l.runPair(ctx, p, binaries, soak)
		r = append(r, results...)
		if err != nil {
			return r, err
		}
		binaries = binaries[done:]
	}
	fmt.Printf("[%s] done in %v\n", p.name, time.Since(begin).Round(time.Second))
	return append(r, r.missing(p)...), nil
}

// runPair runs tests in a new pair of guests, and returns how many of the binaries
// it is done with: after one that left tests unfinished, the guests are no longer
// what tests expect.
func (l *lab) runPair(ctx context.Context, p part, binaries []binary, soak time.Duration) (r report, done int, err error) {
	begin := time.Now()
	guests, err := l.machine.bootPair(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer guests.close()
	fmt.Printf("[%s] two guests are up after %v\n", p.name, time.Since(begin).Round(100*time.Millisecond))
	ctx, unwatch := guests.watch(ctx)
	defer unwatch()
	for _, b := range binaries {
		results, whole, err := l.runBinary(ctx, guests[0], p.name, b, soak)
		r = append(r, results...)
		done++
		if err != nil {
			return r, done, err
		}
		if !whole {
			return r, done, nil
		}
	}
	return r, done, guests[1].check(ctx)
}

// runBinary runs the tests of a package in a guest, and reports whether all ended.
func (l *lab) runBinary(ctx context.Context, g *guest, part string, b binary, soak time.Duration) (r report, whole bool, err error) {
	log := &testLog{part: part, pkg: strings.TrimPrefix(b.name, "hbmfs/")}
	hung := time.NewTimer(testLimit + soak)
	defer hung.Stop()
	out := &process.Lines{Each: func(line string) {
		fmt.Printf("[%s] %s\n", part, line)
		hung.Reset(testLimit + soak)
		log.line(line)
	}}
	env := append([]string{"HBMFS_BIN=" + hostRoot + l.dir + "/hbmfs"}, l.env()...)
	if soak > 0 {
		env = append(env, "HBMFS_LAB_SOAK="+soak.String())
	}
	exit, err := g.runUntil(ctx, hung.C, agent.Command{
		Argv: append([]string{b.file, "-test.v", "-test.timeout", (binaryLimit + soak).String()}, b.args...),
		Env:  env, Dir: hostRoot + b.dir, Stdout: out, Stderr: out,
	})
	whole = log.ended()
	return log.end(err == nil && exit.Code == 0), whole, err
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
