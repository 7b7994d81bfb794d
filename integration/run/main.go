// Command run is `make run`: the whole way of the bytes on real input. It serves
// a tree, mounts it over loopback TCP, and has a third process fetch every file
// of it into device memory and compare each byte there with the original.
//
// It owns the three processes and the scratch directory, and takes them down
// again however it ends. It judges; it never repairs or retries. Its checker
// must first find a word that it spoiled itself.
//
// Locking: results of concurrent fetches meet in a tally, which has its own lock.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
)

// checkCommand makes the driver be the client process.
const checkCommand = "check"

var (
	// errMismatch: device memory does not hold what the original has.
	errMismatch = errors.New("mismatch")
	// errInterrupted: a signal came before the end.
	errInterrupted = errors.New("interrupted")
)

func main() {
	// Children are told to end when the thread that started them does.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == checkCommand {
		err := check(ctx, args[1], args[2])
		if ctx.Err() != nil {
			return errInterrupted
		}
		return err
	}
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	hbmfs := flags.String("hbmfs", "bin/hbmfs", "the `program`")
	src := flags.String("src", "", "the `directory` to serve")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *src == "" || flags.NArg() > 0 {
		return errors.New("usage: run --src DIR [--hbmfs PROGRAM]")
	}
	return drive(ctx, *hbmfs, *src)
}
