// Command chaos is `make chaos`: programs of two users read a mount by every way,
// plainly, by FETCH, by rings and into buffers, while files change in every way,
// mounts, targets and the network fail, and device memory is taken away. It
// finds words that are of another file, place or version than they were passed
// off as, old versions that were not flagged, pinned bytes that change, bytes
// beside those that were asked for, calls that hang, and what stays behind:
// leases, rings, buffers, descriptors, threads, memory, processes and mounts.
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

	churn   time.Duration
	clients int
}

// errFound: something was found that must not be.
var errFound = errors.New("found what must not be")

func main() { process.Main("chaos", run) }

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == readerCommand {
		return readMount(args[1:])
	}
	if len(args) > 0 && args[0] == clientCommand {
		return churn(args[1:])
	}
	var o options
	flags := flag.NewFlagSet("chaos", flag.ExitOnError)
	flags.StringVar(&o.hbmfs, "hbmfs", "bin/hbmfs", "the `program`")
	flags.IntVar(&o.rounds, "rounds", 12, "how many rounds")
	flags.DurationVar(&o.length, "length", 50*time.Second, "how long a round is")
	flags.DurationVar(&o.churn, "churn", 0, "how long clients come and go after that")
	flags.IntVar(&o.clients, "clients", 256, "how many of them there are at a time")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the random choices")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.rounds < 0 || o.rounds == 0 && o.churn <= 0 || o.clients < 1 || o.clients > slots {
		return errors.New("usage: chaos [--rounds N] [--length DURATION] [--churn DURATION] [--clients N] [--seed N] [--hbmfs PROGRAM]")
	}
	if os.Geteuid() != 0 {
		return errors.New("it needs root: readers are of two users")
	}
	fmt.Printf("%d rounds of %v, churn for %v; seed %d\n", o.rounds, o.length, o.churn, o.seed)
	found, err := playRounds(ctx, o)
	if err == nil && o.churn > 0 {
		var more int
		more, err = comeAndGo(ctx, o)
		found += more
	}
	if err == nil && found > 0 {
		err = fmt.Errorf("%w: %d times", errFound, found)
	}
	return err
}

// playRounds returns what was found.
func playRounds(ctx context.Context, o options) (found int, err error) {
	checked := amount{}
	for i := range o.rounds {
		n, more, err := round(ctx, o, i)
		if err != nil {
			return found, err
		}
		found += n
		checked.add(more)
		fmt.Printf("  checked so far: %v\n", checked)
	}
	return found, nil
}
