// Command chaos is `make chaos`: programs of two users read a mount by both ways
// while files change in every way and mounts, targets and the network fail. It
// finds words that are of another file, place or version than they were passed
// off as, old versions that were not flagged, pinned bytes that change, calls
// that hang, and processes and mounts that stay.
//
// It owns the processes and the scratch directory, and takes them down again. It
// judges; it never repairs. Readers learn from a board in shared memory which
// versions were complete before they asked, and publish there what they do.
//
// Locking: the board is atomics; stage.mu guards what went wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"hbmfs/integration/process"
)

type options struct {
	hbmfs  string
	rounds int
	length time.Duration
	seed   uint64
}

// errFound: something was found that must not be.
var errFound = errors.New("found what must not be")

func main() { process.Main("chaos", run) }

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == readerCommand {
		return readMount(args[1:])
	}
	var o options
	flags := flag.NewFlagSet("chaos", flag.ExitOnError)
	flags.StringVar(&o.hbmfs, "hbmfs", "bin/hbmfs", "the `program`")
	flags.IntVar(&o.rounds, "rounds", 12, "how many rounds")
	flags.DurationVar(&o.length, "length", 50*time.Second, "how long a round is")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the random choices")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.rounds < 1 {
		return errors.New("usage: chaos [--rounds N] [--length DURATION] [--seed N] [--hbmfs PROGRAM]")
	}
	if os.Geteuid() != 0 {
		return errors.New("it needs root: readers are of two users")
	}
	fmt.Printf("%d rounds of %v; seed %d\n", o.rounds, o.length, o.seed)
	found, checked := 0, amount{}
	for i := range o.rounds {
		n, more, err := round(ctx, o, i)
		if err != nil {
			return err
		}
		found += n
		checked.add(more)
		fmt.Printf("  checked so far: %v\n", checked)
	}
	if found > 0 {
		return fmt.Errorf("%w: %d times", errFound, found)
	}
	return nil
}
