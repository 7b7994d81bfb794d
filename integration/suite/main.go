// Command suite is `make test`: it runs go test with the arguments that it gets,
// prints what go test prints, and at the end which tests were left out, and why.
// Tests that a file lists must have run and passed.
//
//	go run ./integration/suite [--must-pass FILE]... -- -timeout 15m ./...
//
// It owns nothing but the go command that it runs, and judges no test itself. Its
// exit status is go test's. It holds no lock.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
)

var (
	// errNotRun: tests that must pass did not run, or were left out.
	errNotRun = errors.New("did not run and pass")
	// errAmbiguous: a name is of tests of several packages.
	errAmbiguous = errors.New("several packages have a test of that name")
)

func main() {
	var mustPass []string
	flag.Func("must-pass", "a `FILE` of tests that must run and pass, one a line: its name, or \"package name\"; # starts a comment. May be repeated", func(file string) error {
		names, err := readNames(file)
		mustPass = append(mustPass, names...)
		return err
	})
	flag.Parse()
	code, err := run(mustPass, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run returns go test's exit status. The tests of mustPass must pass.
func run(mustPass, args []string) (int, error) {
	r := &report{out: os.Stdout, verbose: slices.Contains(args, "-v")}
	code, err := goTest(args, r.read)
	if err != nil {
		return code, err
	}
	r.writeLeftOut()
	return code, r.checkPassed(mustPass)
}

// goTest runs go test -json and has its output read.
func goTest(args []string, read func(io.Reader) error) (int, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	// A Ctrl-C reaches the go command as well, whose last words are read.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	err = read(bufio.NewReader(out))
	var exit *exec.ExitError
	if waitErr := cmd.Wait(); waitErr != nil && !errors.As(waitErr, &exit) {
		err = errors.Join(err, waitErr)
	}
	return cmd.ProcessState.ExitCode(), err
}
