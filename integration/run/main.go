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

	"hbmfs/integration/process"
)

// checkCommand makes the driver be the client process.
const checkCommand = "check"

// errMismatch: device memory does not hold what the original has.
var errMismatch = errors.New("mismatch")

func main() { process.Main("run", run) }

func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == checkCommand {
		return check(ctx, args[1], args[2])
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
